"""A finished run's model as a file for other programs: safetensors as it is, ONNX checked against PyTorch."""

import contextlib
import importlib.util
import io
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embryofl.errors import UserError
from embryofl.files import atomic
from embryofl_clinic.scoring.model_store import StoredModel
from embryofl_clinic.scoring.network import Network
from embryofl_clinic.scoring.wording import RESEARCH_USE

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4
"""Largest difference of a logit between ONNX Runtime and PyTorch."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")


def export_onnx(finished: StoredModel, path: Path) -> float:
    """Write a model as ONNX: `images`, float32 (n, 3, s, s) in [0, 1], to `logits`, float32 (n,), for any n.

    The run's name, SHA-256 and image size stand in the file's metadata.

    Returns
    -------
    float
        The largest difference of a logit from PyTorch that was seen in the check.

    Raises
    ------
    UserError
        When a package is missing, the model cannot be exported or gives other logits, or the file cannot be written.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs the packages {', '.join(NEEDED)}; missing: {', '.join(missing)}. Install them with "
            "pip install 'embryofl-clinic[onnx]', or export --safetensors, which needs nothing more."
        )
    import onnx

    network = Network(finished)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.onnx"
        _export(network, made)
        model = onnx.load(made)
        card = network.card
        onnx.helper.set_model_props(
            model,
            {
                "run": card.run,
                "round": str(card.round),
                "sha256": card.sha256,
                "model": card.settings.model,
                "image_size": str(card.settings.image_size),
                "meaning": card.settings.meaning,
                "use": RESEARCH_USE,
            },
        )
        onnx.checker.check_model(model)
        data = model.SerializeToString()
    difference = _difference(network, data)
    if not difference <= TOLERANCE:
        raise UserError(
            f"The ONNX form of {network.card.run} gives logits that differ by {difference:.2g} from PyTorch's; at most "
            f"{TOLERANCE:g} was expected. Nothing was written; use --safetensors."
        )
    _write(path, lambda out: out.write(data))
    return difference


def copy_safetensors(finished: StoredModel, path: Path) -> None:
    """Copy the weights, checked against their card. Raises `UserError`."""
    finished.packed()
    with finished.weights.open("rb") as source:
        _write(path, lambda out: shutil.copyfileobj(source, out, 1 << 20))


def _write(path: Path, fill: Any) -> None:
    try:
        with atomic(path) as out:
            fill(out)
    except OSError as exc:
        raise UserError(f"{path} cannot be written ({exc.strerror}). Name another place.") from exc


def _export(network: Network, path: Path) -> None:
    import torch

    model, size = network.model, network.image_size
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with _quietly():
            torch.onnx.export(
                _whole(model),
                (example,),
                str(path),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},),
                dynamo=True,
                external_data=False,
            )
    except Exception as exc:  # the exporter raises many kinds; whichever it is, there is no file
        logging.getLogger("embryofl.export").debug("the exporter failed", exc_info=exc)
        raise UserError(
            f"PyTorch {torch.__version__} cannot write this {network.card.settings.model} as ONNX "
            f"({type(exc).__name__}). Use --safetensors."
        ) from exc


def _whole(model: "torch.nn.Module") -> "torch.nn.Module":
    """The model with networks that it keeps in lists as proper parts, so that the exporter sees their weights."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            hidden = [v for v in vars(model).values() if isinstance(v, list)]
            self.hidden = torch.nn.ModuleList([m for found in hidden for m in found if isinstance(m, torch.nn.Module)])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.model(images)  # type: ignore[no-any-return]

    return Whole().eval()


@contextlib.contextmanager
def _quietly() -> Any:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _difference(network: Network, data: bytes) -> float:
    """Largest difference of a logit, for batches of 1 and 3 pictures of noise, of a slope, and of a bright disc.

    None is perfectly flat: `small_cnn` scales such a picture's rounding errors up to full contrast, so that no two programs
    agree on it.
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    worst, size = 0.0, network.image_size
    noise = np.random.default_rng(0).random((3, 3, size, size), np.float32)
    disc = np.hypot(*(np.mgrid[:size, :size] - size / 2)) < size / 3
    shapes = np.stack(
        [
            np.linspace(0.4, 0.7, size).repeat(3 * size).reshape(size, 3, size).transpose(1, 0, 2),
            np.where(disc, 0.8, 0.3)[None].repeat(3, 0),
            noise[0] * 0.1,
        ]
    )
    for images in (noise, shapes.astype(np.float32), noise[:1]):
        (got,) = session.run(None, {"images": images})
        with torch.inference_mode():
            expected = network.model(torch.from_numpy(images)).numpy()
        worst = max(worst, float(np.abs(got - expected).max())) if np.isfinite(got).all() else float("inf")
    return worst


def run_export(finished: StoredModel, onnx: Path | None, safetensors: Path | None) -> list[str]:
    """Write what was asked for; returns what to say.

    Raises
    ------
    UserError
    """
    if onnx is None and safetensors is None:
        raise UserError("Nothing to write. Expected --onnx FILE, --safetensors FILE, or both.")
    said, card = [], finished.card
    size = f"images of {card.settings.image_size} pixels, float32 in [0, 1], (n, 3, s, s)"
    if safetensors is not None:
        copy_safetensors(finished, safetensors)
        said.append(f"{safetensors}: {card.settings.model} of {card.run}, SHA-256 {card.sha256}")
    if onnx is not None:
        difference = export_onnx(finished, onnx)
        said.append(
            f"{onnx}: {card.settings.model} of {card.run}; {size}; largest difference of a logit {difference:.1e}"
        )
    return [*said, RESEARCH_USE]
