"""What a publisher offers: file names, addresses, sizes and checksums, and the current licence."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from embryofl.errors import UserError
from embryofl_data.fetching.catalogue import DataSet


@dataclass(frozen=True)
class Remote:
    """A file to be fetched.

    Attributes
    ----------
    name : str
        Without a folder.
    size : int
        Bytes, -1 where not published.
    checksum : str
        `md5:...` or `sha256:...`, "" where not published.
    headers : mapping of str to str
        Of the request; may hold the user's token, so it is not shown.
    """

    name: str
    url: str
    size: int = -1
    checksum: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


Offer = tuple[list[Remote], str]
"""The files, and the licence as in the publisher's record, "" where there is none."""


def offer(client: httpx.Client, data_set: DataSet, hosts: Mapping[str, str]) -> Offer:
    """Ask a publisher what it offers.

    Raises
    ------
    httpx.HTTPError
        When it cannot be reached or rejects the request.
    UserError
        When its reply cannot be read, or a token is missing.
    """
    host = hosts.get(data_set.publisher, "")
    if data_set.publisher == "kaggle":
        url = f"{host}/api/v1/competitions/data/download-all/{data_set.place}"
        return [Remote(data_set.files[0], url, headers=_kaggle_token())], ""
    if data_set.publisher == "github":
        return [Remote(data_set.files[0], f"{host}/{data_set.place}/archive/refs/heads/master.zip")], ""
    try:
        return _zenodo(client, data_set, host) if data_set.publisher == "zenodo" else _figshare(client, data_set, host)
    except (KeyError, TypeError, ValueError, httpx.InvalidURL) as error:
        raise UserError(
            "D7",
            f"The reply of {host} about {data_set.name} cannot be read ({error!r}). Expected the list of its files; its "
            f"interface may have changed. Download the files from {data_set.page} in a browser and start again.",
        ) from error


def _zenodo(client: httpx.Client, data_set: DataSet, host: str) -> Offer:
    record = _json(client, f"{host}/api/records/{data_set.place}")
    files = [
        Remote(
            _bare(file["key"]), _address(file["links"]["self"], host), int(file["size"]), str(file.get("checksum", ""))
        )
        for file in record["files"]
    ]
    return files, str((record["metadata"].get("license") or {}).get("id", ""))


def _figshare(client: httpx.Client, data_set: DataSet, host: str) -> Offer:
    record = _json(client, f"{host}/v2/articles/{data_set.place}")
    files = []
    for file in record["files"]:
        md5 = file.get("computed_md5") or file.get("supplied_md5")
        checksum = f"md5:{md5}" if md5 else ""
        files.append(Remote(_bare(file["name"]), _address(file["download_url"], host), int(file["size"]), checksum))
    return files, str((record.get("license") or {}).get("name", ""))


def _address(url: object, host: str) -> str:
    """An address that is as secure as the publisher's own."""
    if httpx.URL(str(url)).scheme != httpx.URL(host).scheme:
        raise ValueError(f"address {url!r}")
    return str(url)


def _bare(name: object) -> str:
    """A file name that cannot lead anywhere else."""
    text = str(name)
    if not text or text != Path(text).name or text.startswith(".") or "\\" in text:
        raise ValueError(f"file name {text!r}")
    return text


def _json(client: httpx.Client, url: str) -> dict:  # type: ignore[type-arg]  # whatever the publisher sends
    record = client.get(url).raise_for_status().json()
    if not isinstance(record, dict):
        raise TypeError("not a record")
    return record


def _kaggle_token() -> dict[str, str]:
    """The user's token, from the places where Kaggle's own tools look for it."""
    if token := os.environ.get("KAGGLE_API_TOKEN", ""):
        return {"Authorization": f"Bearer {token}"}
    user, key = os.environ.get("KAGGLE_USERNAME", ""), os.environ.get("KAGGLE_KEY", "")
    path = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle")) / "kaggle.json"
    if not (user and key) and path.is_file():
        try:
            token_file = json.loads(path.read_text())
            user, key = str(token_file["username"]), str(token_file["key"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "D7", f"{path} is not a Kaggle token. Create a new one on kaggle.com (Settings, API, Create new token)."
            ) from error
    if not (user and key):
        raise UserError(
            "D7",
            f"No Kaggle token was found in {path} or in KAGGLE_USERNAME and KAGGLE_KEY. Kaggle requires one. Create it on "
            "kaggle.com (Settings, API, Create new token), accept the competition's rules on its page, and start again.",
        )
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}
