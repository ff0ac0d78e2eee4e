"""From the bytes of an image file to a square uint8 RGB array, or the reason why not. Files are decoded in a sandbox.

Rules, all of them functions of the file's content alone:

- EXIF orientation is applied. Of an animation or stack the first frame is used, with a note.
- 16-bit, 32-bit and float grey: microscope cameras write 10, 12 or 14 bits into 16. The bit depth is the smallest of 8,
  10, 12, 14 and 16 that holds the brightest pixel, and values are divided by its full range. So a 12-bit image is
  neither nearly black (as if divided by 65535) nor stretched to its own extremes, and exposures of one camera stay
  comparable. Float images up to 1 are multiplied by 255.
- Transparent pixels are filled with the median colour of the visible ones.
- The longer side is scaled to the wanted size with antialiasing, and the shorter is padded on both sides with the
  image's median colour: embryos are not distorted, and no edge appears where the background of the dish continues.
"""

import contextlib
import io
import math
import threading
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL
from PIL import ExifTags, Image, ImageOps

from embryofl_data.reading import sandbox
from embryofl_data.reading.sandbox import DecodeError, Facts, Reply

MAX_PIXELS = 50_000_000
"""More than any microscope camera has, and below the 89 million at which Pillow warns of a decompression bomb."""
MAX_FILE_BYTES = 256 * 2**20
"""50 million pixels of 32 bits need 200 MB uncompressed."""
MIN_SIDE = 8
LARGE_PIXELS = 10_000_000
"""Images above this are decoded one at a time, whatever the number of threads, and scaled down before anything else."""
LARGE_SIDE = 2048
"""Large images are scaled down by the whole number that keeps their longer side at least this long."""
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
"""Decoders that a file may reach, whatever its name: none that starts another program."""
DECODE_VERSION = f"3-pillow{PIL.__version__}"
"""Part of the cache's key: raised when a rule above changes. Another version of Pillow may decode differently."""

warnings.simplefilter("error", Image.DecompressionBombWarning)
# Damaged metadata: what matters is reported as a problem.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
large_lock: AbstractContextManager[object] = threading.Lock()
"""Held while a large image is decoded."""
Image.preinit()  # once, before threads decode
Image.init()


@dataclass(frozen=True)
class Opened:
    """A decoded image at its own size.

    Attributes
    ----------
    image : PIL.Image.Image
        Mode `RGB` or `L`.
    width, height : int
        As stored in the file, after EXIF orientation.
    mode : str
        Pillow's name of the stored pixel format, such as `RGB`, `L`, `I;16`, `CMYK`.
    note : str
        "" or what was ignored, such as further frames.
    """

    image: Image.Image
    width: int
    height: int
    mode: str
    note: str

    @property
    def facts(self) -> Facts:
        """All but the pixels."""
        return {"width": self.width, "height": self.height, "mode": self.mode, "note": self.note}


def decode_image(data: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Decode the bytes of a whole file to a square: uint8 (size, size, 3). Raises as `open_image` does."""
    return to_square(open_image(data).image, size)


def open_image(data: bytes) -> Opened:
    """Decode a file's content in a sandbox, at its own size, large images one at a time.

    Raises
    ------
    DecodeError
        With the kind `empty`, `too_large`, `too_small`, `truncated` or `unreadable`.
    """
    return received(*sandbox.call(open_here, data, large_lock))


def received(facts: Facts, pixels: bytes) -> Opened:
    """The reply of `open_here`, checked: what decodes a hostile file may be hostile afterwards.

    Raises
    ------
    DecodeError
        When it is not one.
    """
    try:
        bands, shown = str(facts["bands"]), (int(facts["columns"]), int(facts["rows"]))
        # Checked first: the image would be made at any size, before its pixels are looked for.
        if bands not in ("L", "RGB") or min(shown) < 1 or len(pixels) != shown[0] * shown[1] * len(bands):
            raise ValueError(bands)
        image = Image.frombytes(bands, shown, pixels)
        return Opened(
            image, int(facts["width"]), int(facts["height"]), str(facts["mode"])[:20], str(facts["note"])[:80]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError("unreadable", "decoding it gave no image") from error


def open_here(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Decode in this process, a worker of the sandbox: facts and pixels of an `Opened`. Raises as `open_image` does."""
    opened = decode_here(data, large)
    columns, rows = opened.image.size
    return {**opened.facts, "columns": columns, "rows": rows, "bands": opened.image.mode}, opened.image.tobytes()


def decode_here(data: bytes, large: AbstractContextManager[object]) -> Opened:
    """Decode in this process, a worker of the sandbox, holding `large` meanwhile if the image is large.

    Raises
    ------
    DecodeError
        As `open_image` does.
    """
    if not data:
        raise DecodeError("empty", "the file has no content")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                most = f"at most {MAX_PIXELS // 10**6} million are read"
                raise DecodeError("too_large", f"{image.width}x{image.height} pixels; {most}")
            if min(image.size) < MIN_SIDE:
                raise DecodeError("too_small", f"{image.width}x{image.height}: less than {MIN_SIDE} pixels")
            with large if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
                return _open(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("too_large", f"at most {MAX_PIXELS // 10**6} million pixels are read") from error
    except MemoryError as error:
        raise DecodeError("too_large", "not enough memory to decode it") from error
    except DecodeError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        if _cut_short(data, error):
            raise DecodeError("truncated", "the file ends too early; copy it again from its source") from error
        detail = "not an image of a known type" if isinstance(error, PIL.UnidentifiedImageError) else str(error)[:200]
        raise DecodeError("unreadable", detail) from error


def _open(image: Image.Image) -> Opened:
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    mode = image.mode
    image.seek(0)
    image.load()
    width, height = image.size
    brightest = _brightest(image)
    factor = max(image.size) // LARGE_SIDE if width * height > LARGE_PIXELS else 1
    if factor > 1:
        image = _reduced(image, factor)
    with contextlib.suppress(Exception):  # damaged EXIF data does not make the pixels useless
        if image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
            width, height = height, width
        ImageOps.exif_transpose(image, in_place=True)
    note = f"{frames} frames: the first one is used" if frames > 1 else ""
    return Opened(to_8_bits(image, brightest), width, height, mode, note)


def _brightest(image: Image.Image) -> float | None:
    """The highest value of a deep grey image, which shows its bit depth; None for other images, or with infinities."""
    if not _is_deep(image):
        return None
    highest = image.getextrema()[1]
    return float(highest) if isinstance(highest, int | float) and math.isfinite(highest) else None


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Average squares of `factor` pixels, keeping the image's metadata."""
    exif, info = image.getexif(), image.info
    if image.mode.startswith("I;"):  # Pillow reduces no 16-bit images
        pixels = np.asarray(image)
        height, width = (side // factor * factor for side in pixels.shape)
        blocks = pixels[:height, :width].reshape(height // factor, factor, width // factor, factor)
        small = Image.fromarray(np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.int32))
    else:
        small = (image.convert("RGB") if image.mode in ("1", "P") else image).reduce(factor)
    small.info = info
    small.getexif().update(exif)
    return small


def to_8_bits(image: Image.Image, brightest: float | None = None) -> Image.Image:
    """Convert any pixel format to the mode `RGB` or `L` by the rules of this module.

    `brightest` is the highest value of a deep grey image before it was scaled down.
    """
    if _is_deep(image):
        return Image.fromarray(scale_to_8_bits(np.asarray(image), brightest))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _fill_transparent(image.convert("RGBA"))
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def scale_to_8_bits(values: npt.NDArray[np.generic], brightest: float | None = None) -> npt.NDArray[np.uint8]:
    """Scale grey values (h, w) of any type to uint8 by the smallest usual bit depth that holds the brightest.

    Negative and non-finite values count as 0. `brightest` is the highest value, if known better than from `values`.
    """
    grey = values.astype(np.float32)
    np.nan_to_num(grey, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    np.clip(grey, 0, None, out=grey)
    brightest = float(grey.max()) if brightest is None else max(brightest, 0.0)
    if values.dtype.kind == "f" and brightest <= 1:
        full = 1.0
    else:
        depth = next((bits for bits in (8, 10, 12, 14, 16) if brightest <= 2**bits - 1), 0)
        full = float(2**depth - 1) if depth else brightest
    np.multiply(grey, np.float32(255.0 / full), out=grey)
    return np.rint(grey, out=grey).clip(max=255, out=grey).astype(np.uint8)


def _fill_transparent(image: Image.Image) -> Image.Image:
    alpha = np.asarray(image.getchannel("A"))
    if alpha.min() == 255:
        return image.convert("RGB")
    visible = np.asarray(image)[alpha > 0][:, :3]
    fill = _median(visible) if len(visible) else (0, 0, 0)
    return Image.alpha_composite(Image.new("RGBA", image.size, (*fill, 255)), image).convert("RGB")


def to_square(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Scale an `RGB` or `L` image to fit a square and pad it with its median colour: uint8 (size, size, 3)."""
    scale = size / max(image.size)
    width, height = (max(1, min(size, math.floor(side * scale + 0.5))) for side in image.size)
    fitted = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(fitted.convert("RGB"))
    if (width, height) != (size, size):
        square = np.empty((size, size, 3), np.uint8)
        square[:] = _median(pixels.reshape(-1, 3))
        top, left = (size - height) // 2, (size - width) // 2
        square[top : top + height, left : left + width] = pixels
        pixels = square
    return np.ascontiguousarray(pixels)


def scaled(image: Image.Image, side: int, least: int = 1) -> Image.Image:
    """The image with its longer side at `side` pixels, averaged down or interpolated up; the shorter one at `least`."""
    scale = side / max(image.size)
    size = (max(least, round(image.width * scale)), max(least, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)


def _median(colours: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """Median of uint8 (n, 3) by channel; the lower one of two."""
    red, green, blue = (int(c) for c in np.percentile(colours, 50, axis=0, method="lower"))
    return red, green, blue


def _cut_short(data: bytes, error: Exception) -> bool:
    """Whether a file that cannot be decoded lacks its end."""
    text = str(error).lower()
    if any(word in text for word in ("truncat", "premature", "unexpected end", "not enough image data")):
        return True
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in data[-1024:]
    if data.startswith((b"GIF87a", b"GIF89a")):
        return b"\x3b" not in data[-2:]
    return False
