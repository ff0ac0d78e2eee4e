"""The public data sets of `catalogue.toml`."""

import tomllib
from dataclasses import dataclass
from importlib import resources

from embryofl.errors import UserError

_TABLES = tomllib.loads(resources.files(__package__).joinpath("catalogue.toml").read_text("utf-8"))
HOSTS: dict[str, str] = _TABLES["hosts"]
"""Address of each kind of publisher."""


@dataclass(frozen=True)
class DataSet:
    """A data set; the fields are explained in `catalogue.toml`."""

    name: str
    title: str
    publisher: str
    place: str
    page: str
    terms: str
    files: list[str]
    next: str


DATA_SETS = {name: DataSet(name, **row) for name, row in _TABLES["data_sets"].items()}


def find(name: str) -> DataSet:
    """A data set by name; `drive:ID` is one file that somebody shares on Google Drive.

    Raises
    ------
    UserError
        When no data set has this name.
    """
    if name.startswith("drive:") and name[6:].replace("-", "").replace("_", "").isalnum():
        page = f"https://drive.google.com/file/d/{name[6:]}/view"
        terms = "as agreed with the person who shares it"
        return DataSet(name, "A file on Google Drive", "drive", name[6:], page, terms, ["drive.zip"], "")
    if name in DATA_SETS:
        return DATA_SETS[name]
    listed = "\n".join(f"  {each.name}: {each.title} ({each.page})" for each in DATA_SETS.values())
    raise UserError("D7", f"No data set is called {name}. Expected drive:FILE_ID, or one of\n{listed}")
