"""Augmentation: repeatable, different for each image, without black corners or colour casts."""

import math

import pytest
import torch

from embryofl import transforms
from embryofl.transforms import augment, blur


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off all changes but rotation and flips."""
    for name in ("SCALE", "SHIFT", "BRIGHTNESS", "CONTRAST", "BLUR"):
        monkeypatch.setattr(transforms, name, 0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(size: int = 64) -> torch.Tensor:
    """A bright disc off the centre on a mid-grey ground, uint8 (3, s, s)."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = ((x - size * 0.55) ** 2 + (y - size / 2) ** 2) < (size / 4) ** 2
    return torch.where(inside, 200, 120).to(torch.uint8).expand(3, -1, -1).contiguous()


def test_generator_determines_the_result() -> None:
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=generator(1))
    torch.manual_seed(1)
    first = augment(images, generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, augment(images, generator(7)))
    assert not torch.equal(first, augment(images, generator(8)))
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1


def test_each_image_of_a_batch_gets_its_own_change() -> None:
    result = augment(disc().expand(8, -1, -1, -1), generator(3))
    for i in range(8):
        for j in range(i):
            assert not torch.allclose(result[i], result[j], atol=0.02)


def test_corners_are_filled_with_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a bright ground no dark corner comes into view, whatever the angle."""
    monkeypatch.setattr(transforms, "BRIGHTNESS", 0.0)
    monkeypatch.setattr(transforms, "CONTRAST", 0.0)
    result = augment(disc().expand(64, -1, -1, -1), generator(4))
    assert result.min() > 110 / 255


@pytest.mark.usefixtures("still")
def test_rotation_and_flip_keep_the_embryo() -> None:
    """When only turned and flipped, the disc keeps its area and its distance from the centre."""
    image = disc()
    result = augment(image.expand(32, -1, -1, -1), generator(5))
    before = (image[0] > 160).sum()
    angles = []
    for turned in result[:, 0] > 160 / 255:
        assert abs(int(turned.sum()) - int(before)) < 0.03 * before
        y, x = (c.float().mean() - 31.5 for c in turned.nonzero(as_tuple=True))
        assert math.hypot(x, y) == pytest.approx(64 * 0.05, abs=1.0)
        angles.append(math.atan2(y, x))
    assert len({round(angle) for angle in angles}) >= 5  # all round the clock


@pytest.mark.usefixtures("still")
def test_half_of_the_images_are_mirrored() -> None:
    """Both an L and its mirror image appear, which no rotation turns into each other."""
    size = 65
    letter = torch.zeros(3, size, size, dtype=torch.uint8)
    letter[:, 12:52, 22:30] = 255  # the vertical stroke
    letter[:, 44:52, 22:50] = 255  # and the foot to its right
    result = augment(letter.expand(60, -1, -1, -1), generator(6))[:, 0]
    ticks = torch.arange(size).float() - size // 2
    hands = []
    for image in result:
        mass = image.sum()
        y, x = (image.sum(1) @ ticks / mass, image.sum(0) @ ticks / mass)
        dy, dx = ticks[:, None] - y, ticks[None, :] - x
        # The sign of the third moment about the first axis distinguishes the two.
        xx, yy, xy = (image * dx**2).sum(), (image * dy**2).sum(), (image * dx * dy).sum()
        angle = 0.5 * torch.atan2(2 * xy, xx - yy)
        u = dx * torch.cos(angle) + dy * torch.sin(angle)
        v = -dx * torch.sin(angle) + dy * torch.cos(angle)
        hands.append(bool((image * u**3).sum() * (image * v**3).sum() > 0))
    assert 15 <= sum(hands) <= 45


def test_grey_image_stays_grey() -> None:
    result = augment(disc().expand(16, -1, -1, -1), generator(7))
    assert torch.allclose(result[:, 0], result[:, 1], atol=1e-5)
    assert torch.allclose(result[:, 0], result[:, 2], atol=1e-5)


@pytest.mark.parametrize("size", [32, 48, 96, 160, 224])
def test_blur_gives_the_bits_of_torchvisions(size: int) -> None:
    from torchvision.transforms.v2 import functional as v2  # here, because it takes each worker three seconds

    images = torch.rand(3, 3, size, size, generator=generator(5))
    kernel_size, sigma = 2 * (size // 48) + 3, size / 64
    assert torch.equal(blur(images, kernel_size, sigma), v2.gaussian_blur(images, [kernel_size] * 2, [sigma] * 2))
