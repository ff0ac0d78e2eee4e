"""The public data sets: where they are published, under what terms, and how they go on into the data contract."""

from dataclasses import dataclass

from embryofl.errors import UserError

HOSTS = {
    "zenodo": "https://zenodo.org",
    "figshare": "https://api.figshare.com",
    "kaggle": "https://www.kaggle.com",
    "github": "https://github.com",
    "drive": "https://drive.google.com",
}
"""Where each kind of publisher answers."""


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes
    ----------
    name, title : str
        As on the command line, and in words.
    publisher : str
        A key of `HOSTS`, or `request` where the authors send it on request.
    place : str
        Which record there.
    page : str
        Address for a person.
    terms : str
        Licence in words; what the publisher's record says is shown as well where it can be reached.
    files : tuple of str
        What is fetched unless more is asked for; for a person who brings the files, too.
    next : str
        Options of `embryofl-clinic import` that take it in.
    """

    name: str
    title: str
    publisher: str
    place: str
    page: str
    terms: str
    files: tuple[str, ...]
    next: str


DATA_SETS = (
    DataSet(
        "hungvuong",
        "Hung Vuong Hospital and IC-IP lab: World Championship 2023 Embryo Classification",
        "kaggle",
        "world-championship-2023-embryo-classification",
        "https://www.kaggle.com/competitions/world-championship-2023-embryo-classification/data",
        "the competition's rules, to be accepted on its page with a Kaggle account; no redistribution",
        ("world-championship-2023-embryo-classification.zip",),
        "--layout hungvuong",
    ),
    DataSet(
        "kromp",
        "Kromp et al., Scientific Data 2023: annotated human blastocysts",
        "figshare",
        "20123153",
        "https://doi.org/10.6084/m9.figshare.20123153.v3",
        "CC BY 4.0: name the authors",
        ("Blastocyst_Dataset.zip",),
        "--layout kromp --rule gardner-3bb",
    ),
    DataSet(
        "gomez",
        "Gomez et al., Data in Brief 2022: time-lapse videos of 704 embryos",
        "zenodo",
        "7912264",
        "https://zenodo.org/records/7912264",
        "Creative Commons; which one is what the record itself says",
        (
            "embryo_dataset.tar.gz",
            "embryo_dataset_annotations.tar.gz",
            "embryo_dataset_grades.csv",
            "embryo_dataset_time_elapsed.tar.gz",
        ),
        "--layout gomez --rule icm-te-b --before tHB",
    ),
    DataSet(
        "stork",
        "Khosravi et al., npj Digital Medicine 2019: STORK",
        "github",
        "ih-lab/STORK",
        "https://github.com/ih-lab/STORK",
        "MIT: keep the copyright notice",
        ("STORK.zip",),
        "--layout stork --rule stork",
    ),
    DataSet(
        "saeedi",
        "Saeedi et al., IEEE T-BME 2017: outlines of 249 blastocysts",
        "request",
        "",
        "https://doi.org/10.1109/TBME.2017.2759665",
        "as the authors agree with you",
        ("BlastsOnline.zip",),
        "--layout saeedi --rule none",
    ),
)


def find(name: str) -> DataSet:
    """A data set by name; `drive:ID` is one file that somebody shares on Google Drive.

    Raises
    ------
    UserError
        When there is none of this name.
    """
    if name.startswith("drive:") and name[6:].replace("-", "").replace("_", "").isalnum():
        page = f"https://drive.google.com/file/d/{name[6:]}/view"
        terms = "as whoever shares it says: ask them"
        return DataSet(name, "A file on Google Drive", "drive", name[6:], page, terms, ("drive.zip",), "")
    for data_set in DATA_SETS:
        if data_set.name == name:
            return data_set
    listed = "\n".join(f"  {one.name}: {one.title} ({one.page})" for one in DATA_SETS)
    raise UserError(f"There is no data set {name}. Expected drive:FILE_ID, or one of\n{listed}")
