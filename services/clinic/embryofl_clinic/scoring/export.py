"""A finished run's model as a file for other programs: safetensors unchanged, ONNX checked against PyTorch."""

import contextlib
import importlib.util
import io
import logging
import warnings
from typing import Any

import numpy as np
import torch

from embryofl.errors import UserError
from embryofl_clinic.scoring.model_store import StoredModel
from embryofl_clinic.scoring.network import Network, hidden_networks
from embryofl_clinic.texts import texts

TOLERANCE = 1e-4
"""Largest difference of a logit between ONNX Runtime and PyTorch."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")


def export_onnx(stored: StoredModel) -> tuple[bytes, float]:
    """A model as ONNX: `images`, float32 (n, 3, s, s) in [0, 1], to `logits`, float32 (n,), for any n.

    Its metadata hold the run's name, its SHA-256 and the image size.

    Returns
    -------
    data : bytes
        The file's content.
    difference : float
        The largest difference of a logit from PyTorch in the check.

    Raises
    ------
    UserError
        When a package is missing, the model cannot be exported or gives other logits.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            "M5",
            f"ONNX needs the packages {', '.join(NEEDED)}; missing: {', '.join(missing)}. Install them with "
            "pip install 'embryofl-clinic[onnx]', or use --safetensors, which needs no further package.",
        )
    import onnx  # an optional package

    network = Network(stored)
    model, card, settings = _export(network), network.card, network.card.settings
    properties = {name: str(getattr(card, name)) for name in ("run", "round", "sha256")}
    properties |= {name: str(getattr(settings, name)) for name in ("model", "image_size", "meaning")}
    onnx.helper.set_model_props(model, properties | {"use": texts.research_short})
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    difference = _difference(network, data)
    if not difference <= TOLERANCE:
        raise UserError(
            "M5",
            f"The ONNX form of {network.card.run} gives logits that differ by {difference:.2g} from PyTorch's; at most "
            f"{TOLERANCE:g} was expected. Nothing was written; use --safetensors.",
        )
    return data, difference


def _export(network: Network) -> Any:
    """The network as an ONNX `ModelProto`."""
    model, size = network.model, network.image_size
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with _quietly():
            program = torch.onnx.export(
                OnnxWrapper(model).eval(),
                (example,),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},),
                dynamo=True,
            )
            return program.model_proto if program else None
    except Exception as exc:  # the exporter raises many kinds
        logging.getLogger("embryofl.export").debug("the exporter failed", exc_info=exc)
        raise UserError(
            "M5",
            f"PyTorch {torch.__version__} cannot write this {network.card.settings.model} as ONNX "
            f"({type(exc).__name__}). Use --safetensors.",
        ) from exc


class OnnxWrapper(torch.nn.Module):
    """A model with the networks that it keeps in lists as submodules, so that the exporter includes their weights."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.hidden = model, torch.nn.ModuleList(hidden_networks(model))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """As the model."""
        return self.model(images)  # type: ignore[no-any-return]


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
    """Largest difference of a logit, for batches of 1 and 3 images of noise, a slope and a bright disc.

    None is perfectly flat: `small_cnn` scales such an image's rounding errors up to full contrast, so no two programs
    agree.
    """
    import onnxruntime  # an optional package

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
