"""Scores an uploaded cohort: decode, score, rank, heat maps. One cohort at a time."""

import base64
import hashlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from embryofl.errors import UserError
from embryofl.texts import size
from embryofl_clinic.app.records import Record, RecordImage, Records, new_id
from embryofl_clinic.scoring.folder import ImageToScore
from embryofl_clinic.scoring.heatmap import heat_maps, overlay
from embryofl_clinic.scoring.image_check import ImageCheck, inspect_image
from embryofl_clinic.scoring.model_store import ModelStore
from embryofl_clinic.scoring.network import Network
from embryofl_clinic.scoring.score import BATCH, combine, score_images
from embryofl_clinic.texts import texts
from embryofl_data.reading.threads import in_threads

SIDE = 320
"""Of displayed images, in pixels."""
MOST_FILES = 60
MOST_FILE_BYTES = 32 * 10**6
MOST_NAME = 120
"""Characters of a file's name; longer ones lose their beginning."""
RECENT = 8
"""Cohorts whose images stay in memory while the app runs."""
VIEW = "@"
"""`E1@1.png` and `E1@2.png` are two views of embryo E1."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file: its untrusted name and its content."""

    name: str
    data: bytes


class ScoringService:
    """Keeps the newest model loaded.

    Parameters
    ----------
    models : ModelStore
    records : Records
    device : str
    """

    def __init__(self, models: ModelStore, records: Records, device: str) -> None:
        self._models, self._records, self._device = models, records, device
        self._busy = threading.Lock()
        self._network: Network | None = None
        self._recent: OrderedDict[str, Record] = OrderedDict()

    def score(self, uploads: Sequence[Upload], cohort: str, run: str, *, keep: bool) -> Record:
        """Score one cohort and keep its record.

        Raises
        ------
        UserError
            When there are no files or too many, no model, or the record cannot be written.
        """
        if not uploads:
            raise UserError("M4", texts.score.no_image)
        if len(uploads) > MOST_FILES:
            raise UserError("M4", texts.score.many.format(count=len(uploads), most=MOST_FILES))
        with self._busy:
            network = self._ready(run)
            return self._scored(network, _distinct(uploads), cohort or texts.score.unnamed, keep=keep)

    def _ready(self, run: str) -> Network:
        stored = self._models.get(run)
        if self._network is None or self._network.card != stored.card:
            self._network = None  # free the old one first
            self._network = Network(stored, self._device)
        return self._network

    def _scored(self, network: Network, uploads: list[Upload], cohort: str, *, keep: bool) -> Record:
        sides = sorted({SIDE, network.image_size})
        checks = list(in_threads(partial(_check, upload, sides) for upload in uploads))
        images = [ImageToScore(u.name, cohort, PurePosixPath(u.name).stem.rpartition(VIEW)[0]) for u in uploads]
        scores = combine(images, checks, score_images(checks, [network]), [network])
        record = Record(
            id=new_id(),
            time=time.time(),
            cohort=cohort,
            scores=scores.to_dict(),
            digests={u.name: hashlib.sha256(u.data).hexdigest() for u in uploads},
            images=_images(network, uploads, checks),
        )
        self._records.put(record, images=keep)
        self._recent[record.id] = record
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return record

    def find(self, id_: str) -> Record | None:
        """A record, with its images if they are still in memory or were kept."""
        return self._recent.get(id_) or self._records.get(id_)


def _check(upload: Upload, sides: Sequence[int]) -> ImageCheck:
    if len(upload.data) > MOST_FILE_BYTES:
        return ImageCheck(problem=texts.unusable.too_large_upload.format(size=size(MOST_FILE_BYTES)))
    return inspect_image(upload.data, sides)


def _distinct(uploads: Sequence[Upload]) -> list[Upload]:
    """The files under different names, without folders and of bounded length."""
    counts: dict[str, int] = {}
    distinct = []
    for upload in uploads:
        path = PurePosixPath(upload.name.replace("\\", "/"))
        name = (path.name or texts.score.unnamed_image)[-MOST_NAME:]
        count = counts[name] = counts.get(name, 0) + 1
        distinct.append(replace(upload, name=name if count == 1 else f"{name} ({count})"))
    return distinct


def _images(network: Network, uploads: Sequence[Upload], checks: Sequence[ImageCheck]) -> dict[str, RecordImage]:
    usable = [i for i, check in enumerate(checks) if not check.problem]
    images = {}
    for at in range(0, len(usable), BATCH):
        part = usable[at : at + BATCH]
        squares = np.stack([checks[i].squares[network.image_size] for i in part])
        for i, heat in zip(part, heat_maps(network.model, squares, network.device), strict=True):
            large = checks[i].squares[SIDE]
            image, heat_map = _jpeg(Image.fromarray(large)), _jpeg(overlay(large, heat))
            images[uploads[i].name] = RecordImage(image=image, heat=heat_map)
    return images


def _jpeg(image: Image.Image) -> str:
    """An image re-encoded without the file's metadata, as a `data:` address."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
