"""Any encoded image becomes 8-bit RGB, in one way for training and for prediction.

Rules, in this order:

- the first frame is taken, and the EXIF orientation is applied;
- transparency is composed on white;
- 16-bit gray (``I;16``, and ``I`` whose values fit) is divided by 257, so 65,535 becomes 255;
- floating-point gray in [0, 1] is multiplied by 255, in ]1, 255] taken as it is, both rounded;
- CMYK (Adobe's inverted JPEGs too), YCbCr, palettes and 1-bit become RGB by Pillow's formulas; colour profiles are
  ignored.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mu2net.data.task import UInt8Array
from mu2net.errors import ConfigError, ImageError

MAX_PIXELS = 89_478_485
"""Images with more pixels are refused before they are decoded (a quarter GiB of RGB, Pillow's own limit)."""

MAX_ENCODED = 2**28
"""The longest image file that is read, in bytes."""

MAX_ICONS = 256
"""An icon (an ICO file) of more pictures is refused: they may all be the same bytes, and Pillow reads every one."""

FORMATS = (
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "ICO",
    "JPEG",
    "JPEG2000",
    "PCX",
    "PNG",
    "PPM",
    "QOI",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
)
"""The formats that are read, by Pillow's names.

Not among them: EPS, for which Pillow starts Ghostscript; FITS, which it decodes pixel by pixel in Python; and what
hardly anybody has, because each is one more decoder that hostile files can aim at.
"""

_BAND = 2**20
"""Pixels of a large image that are converted at a time."""

_PNG = b"\x89PNG\r\n\x1a\n"

Encoded = bytes | Path | Image.Image
"""An image that is not decoded yet: the bytes of a file, its path, or an open Pillow image."""


def decode_rgb(encoded: Encoded, name: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return an image in Pillow's mode ``RGB``, upright, without transparency.

    Args:
        encoded: Bytes of an image file, its path, or a Pillow image.
        name: What messages call it, for instance its path or row.
        max_pixels: Images with more pixels are refused before they are decoded.

    Raises:
        ImageError: It does not decode, is too large, or holds values that have no meaning as 8-bit RGB.
    """
    try:
        if isinstance(encoded, Image.Image):
            return _to_rgb(encoded, name, max_pixels)
        _check_file(encoded, name)
        _check_icon(encoded, name, max_pixels)
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=_formats()) as image:
            return _to_rgb(image, name, max_pixels)
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageError(f"image {name} does not exist; correct the path") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, str(error), max_pixels) from error
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        raise ImageError(
            f"image {name} does not decode ({_reason(error)}); replace or remove it, or skip bad images"
        ) from error


@cache
def _formats() -> list[str]:
    """Return which of the formats this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def image_suffixes() -> frozenset[str]:
    """Return the endings of files in these formats, such as ``.png``, in lower case."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in _formats())


def _check_file(encoded: bytes | Path, name: str) -> None:
    """Refuse what must not be opened, or not be read to its end."""
    size = len(encoded) if isinstance(encoded, bytes) else encoded.stat().st_size
    if isinstance(encoded, Path) and not stat.S_ISREG(encoded.stat().st_mode):
        found = "a folder" if encoded.is_dir() else "a pipe, socket or device"
        raise ImageError(f"image {name} is {found}; expected an image file")
    if size > MAX_ENCODED:
        raise too_long(name, size)


def _check_icon(encoded: bytes | Path, name: str, max_pixels: int) -> None:
    """Refuse a large PNG in an ICO file: Pillow decodes it when it opens the file, before anybody knows its size.

    And an icon of very many pictures, through all of which Pillow looks first.
    """
    if isinstance(encoded, bytes):
        head = encoded[:6]
    else:
        with encoded.open("rb") as file:
            head = file.read(6)
    if head[:4] != b"\0\0\1\0":
        return
    if (count := int.from_bytes(head[4:], "little")) > MAX_ICONS:
        raise ImageError(
            f"image {name} is an icon of {count:,} pictures; expected at most {MAX_ICONS:,}; save one of them as PNG"
        )
    data = encoded if isinstance(encoded, bytes) else encoded.read_bytes()
    start = data.find(_PNG)
    while start >= 0:
        width, height = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (16, 20))
        if width * height > max_pixels:
            raise _too_large(name, f"{width} x {height}", max_pixels)
        start = data.find(_PNG, start + 1)


def too_long(name: str, size: int) -> ImageError:
    """Return the error for an image file that is too long to be read.

    Args:
        name: What messages call it.
        size: Its size, in bytes.
    """
    return ImageError(f"image {name} has {size:,} bytes; expected at most {MAX_ENCODED:,}; scale it down first")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is no image file of these formats: {', '.join(FORMATS)}"
    return str(error) or type(error).__name__


def _too_large(name: str, found: str, most: int) -> ImageError:
    return ImageError(
        f"image {name} is too large: expected at most {most:,} pixels, found {found}; scale it down first"
    )


def _to_rgb(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    if image.width * image.height > max_pixels:
        raise _too_large(name, f"{image.width} x {image.height}", max_pixels)
    if min(image.size) < 1:
        raise ImageError(f"image {name} is empty ({image.width} x {image.height}); replace or remove it")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(image, name)).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB") if image.mode != "RGB" else image


def _on_white(image: Image.Image) -> Image.Image:
    """Return a transparent image on white, band by band: whole copies of a large one would cost five times its room."""
    found, rows = Image.new("RGB", image.size), max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        rgba = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        found.paste(Image.alpha_composite(white, rgba).convert("RGB"), (0, top))
    return found


def _to_8_bit(image: Image.Image, name: str) -> UInt8Array:
    """Return a 16-bit, 32-bit or floating-point gray image as ``[height, width]``, 0..255."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    limit = 255.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= limit):  # also true for NaN
        raise ImageError(
            f"image {name} (mode {image.mode}) has values from {low:g} to {high:g}; expected 0 to {limit:g} "
            "without NaN; convert it to 8-bit"
        )
    found = np.empty(values.shape, np.uint8)
    given, written = values.reshape(-1), found.reshape(-1)
    for start in range(0, len(given), _BAND):  # in double precision, but never all of it at once
        band: NDArray[np.float64] = given[start : start + _BAND].astype(np.float64)
        if image.mode != "F":
            band /= 257
        elif high <= 1:
            band *= 255
        written[start : start + _BAND] = np.floor(band + 0.5)
    return found


def squeeze(image: Image.Image, side: int) -> UInt8Array:
    """Return an RGB image squeezed to a square, bilinear and antialiased; shape ``[side, side, 3]``.

    Args:
        image: A Pillow image of mode ``RGB``.
        side: Side of the square, in pixels.
    """
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def check_several(items: object) -> None:
    """Refuse a single image where several are expected.

    Args:
        items: What the user gave; an array of shape ``[images, height, width, channels]`` holds several.

    Raises:
        ConfigError: It is one path, Pillow image, or array of shape ``[height, width]`` or
            ``[height, width, channels]``.
    """
    if isinstance(items, str | Path | Image.Image):
        raise ConfigError(f"expected a list of images, found one {type(items).__name__}; write [{items!r}]")
    if isinstance(items, np.ndarray) and items.ndim in (2, 3):
        raise ConfigError(
            f"expected a list of images, found one array of {items.dtype} {list(items.shape)}; write [image], or "
            "give an array of shape [images, height, width, channels]"
        )


def load_images(items: Sequence[str | Path | Image.Image | UInt8Array], side: int) -> UInt8Array:
    """Return images for a prediction exactly as training sees them; shape ``[len(items), side, side, 3]``.

    Args:
        items: Paths, Pillow images, or uint8 arrays of shape ``[height, width]`` or ``[height, width, 1 | 3 | 4]``
            (gray, RGB, RGBA); uint16 gray arrays are taken as 16-bit images. An array of four dimensions is a batch.
        side: Side of the squares, in pixels.

    Raises:
        ConfigError: ``items`` is a single image, or an item is of no usable type.
        ImageError: An image does not decode, or an array has no usable shape or type.
    """
    check_several(items)
    images = np.empty((len(items), side, side, 3), np.uint8)
    for index, item in enumerate(items):
        images[index] = squeeze(open_rgb(item, index), side)
    return images


def open_rgb(item: object, index: int) -> Image.Image:
    """Return an image of a list in Pillow's mode ``RGB``; see ``load_images``.

    Args:
        item: The path of a file, a Pillow image, or an array.
        index: Its place in the list, for messages.

    Raises:
        ConfigError: The item is of no usable type.
        ImageError: It does not decode, or is an array of no usable shape or type.
    """
    if isinstance(item, str | Path):
        return decode_rgb(Path(item).expanduser(), f"'{item}'")
    if isinstance(item, Image.Image):
        return decode_rgb(item, f"{index} of the list")
    if not isinstance(item, np.ndarray):
        raise ConfigError(
            f"image {index} of the list is a {type(item).__name__}; expected a path, a Pillow image or a uint8 array"
        )
    if item.ndim == 3 and item.shape[2] == 1:
        item = item[:, :, 0]
    is_gray, is_colour = item.ndim == 2, item.ndim == 3 and item.shape[2] in (3, 4)
    fits = (item.dtype == np.uint8 and (is_gray or is_colour)) or (item.dtype == np.uint16 and is_gray)
    if not fits or not item.size:
        raise ImageError(
            f"image {index} of the list is an array of {item.dtype} {list(item.shape)}; expected uint8 "
            "[height, width] or [height, width, 1, 3 or 4] (gray, RGB or RGBA in 0..255)"
        )
    return decode_rgb(Image.fromarray(np.ascontiguousarray(item)), f"{index} of the list")
