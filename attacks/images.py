"""Image files: sizes that lie, bombs, and decoders that should not be there."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

from attacks.frame import Strike, attack
from attacks.make import chunk, picture, pipe, png, sparse, zeros
from mu2net.data.decode import decode_rgb
from mu2net.errors import ImageError


def _decode(data: bytes | Path) -> Strike:
    return lambda: decode_rgb(data, "of the attack")


@attack(ImageError)
def image_of_four_billion_rows(folder: Path) -> Strike:
    """A PNG of 100 bytes claims 2^31 - 1 by 2^31 - 1 pixels."""
    return _decode(png(2**31 - 1, 2**31 - 1, zeros(2**20)))


@attack(ImageError)
def image_just_above_the_limit(folder: Path) -> Strike:
    """A PNG of 300 KB holds 100 million black pixels, really there."""
    return _decode(png(10_000, 10_000, zeros(2**28 + 2**26)))


@attack(ImageError)
def image_text_bomb(folder: Path) -> Strike:
    """A compressed comment of a PNG unpacks to half a gigabyte."""
    text = b"Comment\0\0" + zeros(2**29)
    return _decode(png(8, 8, b"", chunk(b"zTXt", text)))


@attack(ImageError)
def image_profile_bomb(folder: Path) -> Strike:
    """A colour profile of a PNG unpacks to half a gigabyte, and the pixels are missing."""
    return _decode(png(8, 8, b"", chunk(b"iCCP", b"p\0\0" + zeros(2**29))))


@attack(ImageError)
def image_that_starts_a_program(folder: Path) -> Strike:
    """An EPS file is a program that Ghostscript would run."""
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) (w) file closefile showpage\n%%EOF\n"
    return _decode(text)


@attack(ImageError)
def image_decoded_in_python(folder: Path) -> Strike:
    """A FITS image of 80 million pixels in a few KB, which Pillow decodes pixel by pixel."""
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 9000", "NAXIS2  = 9000", "END")
    text = "".join(f"{card:<80}" for card in cards).encode().ljust(2880)
    return _decode(text + gzip.compress(bytes(2**20)))


@attack(ImageError)
def image_cut_short(folder: Path) -> Strike:
    """A PNG ends in the middle of its pixels."""
    whole = png(64, 64, zlib.compress(bytes(64 * (1 + 3 * 64)), level=0))
    return _decode(whole[: len(whole) // 2])


@attack(ImageError)
def image_of_no_size(folder: Path) -> Strike:
    """A BMP claims a height of zero."""
    header = struct.pack("<IiiHHIIiiII", 40, 8, 0, 1, 24, 0, 0, 0, 0, 0, 0)
    return _decode(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header)


@attack(ImageError)
def image_with_a_directory_of_billions(folder: Path) -> Strike:
    """A TIFF whose directory claims 65,535 entries of 2^32 - 1 values each."""
    entry = struct.pack("<HHII", 273, 4, 2**32 - 1, 8)
    return _decode(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 65_535) + entry * 50)


@attack(ImageError)
def image_whose_directory_leads_to_itself(folder: Path) -> Strike:
    """A TIFF without pixels whose next directory is the same one."""
    tags = ((256, 8), (257, 8), (258, 8), (259, 1), (262, 1))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return _decode(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8))


@attack(ImageError)
def image_canvas_of_a_tiny_frame(folder: Path) -> Strike:
    """A GIF with a canvas of 65,535 by 65,535 pixels and a frame of one."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0xF0, 0, 0) + bytes(6)
    return _decode(screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0;")


@attack(ImageError)
def image_that_is_a_pipe(folder: Path) -> Strike:
    """The image is a named pipe that nobody writes to."""
    return _decode(pipe(folder / "image.png"))


@attack(ImageError)
def image_that_is_a_device(folder: Path) -> Strike:
    """The image is a link to a device without end."""
    (folder / "image.png").symlink_to("/dev/zero")
    return _decode(folder / "image.png")


@attack(ImageError)
def image_of_a_terabyte(folder: Path) -> Strike:
    """A file of a terabyte, which begins like a PNG."""
    return _decode(sparse(folder / "image.png", 2**40, picture()[:40]))


@attack(ImageError)
def image_inside_an_image(folder: Path) -> Strike:
    """An icon whose directory names 65,535 images at the same place."""
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, 2**31 - 1, 22)
    buffer = io.BytesIO()
    buffer.write(struct.pack("<HHH", 0, 1, 65_535) + entry * 65_535)
    return _decode(buffer.getvalue())
