"""Decoding: every pixel format that a microscope or a person may save, and damaged files."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from embryofl_data.reading.decode import MAX_PIXELS, decode_image, open_image, scale_to_8_bits
from embryofl_data.reading.sandbox import DecodeError


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(maximum: int, dtype: type) -> np.ndarray:
    return np.linspace(0, maximum, 32 * 32).reshape(32, 32).astype(dtype)


def noise(size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def refusal(data: bytes) -> str:
    with pytest.raises(DecodeError) as error:
        decode_image(data, 32)
    return error.value.kind


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_brightness_at_any_camera_depth(bits, kind):
    data = encode(Image.fromarray(ramp(2**bits - 1, np.uint16)), kind)
    assert open_image(data).mode.startswith("I")
    assert np.abs(decode_image(data, 32)[..., 0].astype(int) - ramp(255, np.float64)).max() <= 1


def test_exposures_of_one_camera_stay_comparable():
    bright, dim = (scale_to_8_bits(np.full((8, 8), value, np.uint16)) for value in (4000, 2000))
    assert bright[0, 0] == pytest.approx(2 * dim[0, 0], abs=1)


def test_float_images():
    unit, counts = ramp(1, np.float32), ramp(4095, np.float32)
    for values in (unit, counts):
        pixels = decode_image(encode(Image.fromarray(values), "TIFF"), 32)[..., 0]
        assert np.abs(pixels.astype(int) - ramp(255, np.float64)).max() <= 1
    assert scale_to_8_bits(np.array([[np.nan, np.inf, -5.0, 0.0]])).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "YCbCr"])
def test_pixel_formats_become_rgb(mode):
    grey = Image.fromarray(ramp(255, np.uint8)).convert("RGB").resize((32, 32))
    if mode == "1":
        grey = grey.point(lambda value: 255 * (value > 127))
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    image = grey.quantize(256) if mode == "P" else grey.convert(mode)
    pixels = decode_image(encode(image, kind), 32)
    assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(grey).astype(int)).mean() < 6


def test_cmyk_jpeg():
    flat = Image.new("RGB", (32, 32), (200, 120, 40))
    pixels = decode_image(encode(flat.convert("CMYK"), "JPEG", quality=95), 32)
    assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - (200, 120, 40)).max() < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_get_the_colour_of_visible_ones(mode):
    colour = (90, 90, 90, 255) if mode == "RGBA" else (90, 255)
    image = Image.new(mode, (32, 32), colour)
    image.paste((255, 0, 0, 0) if mode == "RGBA" else (255, 0), (0, 0, 10, 32))
    assert (decode_image(encode(image), 32) == 90).all()


def test_palette_with_transparency():
    image = Image.new("P", (32, 32), 1)
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.paste(0, (0, 0, 8, 8))
    assert (decode_image(encode(image, transparency=0), 32) == (10, 20, 30)).all()


def test_wide_image_is_padded_not_distorted():
    image = Image.new("RGB", (64, 32), (50, 60, 70))
    image.paste((255, 255, 255), (24, 8, 40, 24))  # 16x16 in the middle
    pixels = decode_image(encode(image), 64)
    assert (pixels[:16] == (50, 60, 70)).all() and (pixels[48:] == (50, 60, 70)).all()
    white = (pixels == 255).all(axis=2)
    assert (white.any(axis=0).sum(), white.any(axis=1).sum()) == (16, 16)


def test_exif_orientation():
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (0, 0, 16, 16))  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees: bright at the top
    data = encode(image, "JPEG", exif=exif, quality=95)
    opened, pixels = open_image(data), decode_image(data, 32)
    assert (opened.width, opened.height) == (16, 32)
    assert pixels[4, 16, 0] > 200 and pixels[28, 16, 0] < 50


def test_downscaling_averages():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode_image(encode(Image.fromarray(stripes)), 16)
    assert np.abs(pixels[2:-2, 2:-2].astype(int) - 127).max() < 10


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_animation_is_read_as_its_first_frame_with_a_note(kind):
    frames = [Image.new("RGB", (32, 32), (shade, shade, shade)) for shade in (10, 200, 250)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(decode_image(data, 32).astype(int) - 10).max() <= 1
    assert "3 frames" in open_image(data).note


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated(kind, kept):
    data = encode(noise((64, 64)), kind)
    assert refusal(data[: int(len(data) * kept)]) == "truncated"


def test_empty_text_and_damaged_files():
    assert refusal(b"") == "empty"
    assert refusal(b"patient;label\n1;0\n") == "unreadable"
    damaged = bytearray(encode(noise((64, 64))))
    damaged[len(damaged) // 2] ^= 0xFF
    assert refusal(bytes(damaged)) == "unreadable"


def test_formats_that_start_other_programs_are_not_opened():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%EOF\n"
    assert refusal(postscript) == "unreadable"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims many pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_100, 9_460, 13_000, 60_000])
def test_decompression_bomb_is_rejected_by_its_header(side):
    assert side * side > MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(bomb(side, side)) == "too_large"


def test_tiny_image_is_rejected():
    assert refusal(encode(Image.new("RGB", (4, 400)))) == "too_small"


def test_extreme_aspect_ratio_needs_little_memory():
    assert decode_image(encode(Image.new("L", (20_000, 8), 77)), 32).mean() == 77


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_ignored():
    data = encode(noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\x01" * 30)
    assert decode_image(data, 32).shape == (32, 32, 3)
