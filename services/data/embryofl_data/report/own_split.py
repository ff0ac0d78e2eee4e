"""A split that a folder comes with: a column in `labels.csv`, or folders named train and test.

EmbryoFL does not use it (it splits by patient itself), but metrics published with it are worthless when it leaks.
"""

import re

from embryofl.errors import DataError
from embryofl_data.reading.contract import DataFolder
from embryofl_data.reading.layouts import CONTRACT_PLACES
from embryofl_data.reading.listing import Listing, list_images, locate

COLUMNS = ("split", "fold", "set", "subset", "partition")
FOLDERS = re.compile(r"(?i)(train|training|val|valid|validation|test|testing|holdout)")


def own_split(folder: DataFolder) -> tuple[dict[str, str], str]:
    """File to its part of the split, and where that comes from; both empty where the folder has no split of its own."""
    if folder.layout == "labels.csv":
        listing = list_images(folder.root)
        for column in COLUMNS:
            parts = _from_column(listing, column)
            if len(set(parts.values())) > 1:
                return parts, f"the column {column} of labels.csv"
    parts = {
        image.file: part.lower()
        for image in folder.images
        for part in image.file.split("/")[:-1]
        if FOLDERS.fullmatch(part)
    }
    return (parts, "folder names") if len(set(parts.values())) > 1 else ({}, "")


def _from_column(listing: Listing, column: str) -> dict[str, str]:
    try:
        table = listing.table("labels.csv", ("image", column))
    except DataError:  # no such column
        return {}
    parts = {}
    for row in table.rows if table else ():
        file = locate(listing, row.cells["image"], CONTRACT_PLACES, f"row {row.number}")
        if isinstance(file, str) and row.cells[column]:
            parts[file] = row.cells[column]
    return parts
