from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mu2net.data import decode
from mu2net.data.decode import decode_rgb, load_images, squeeze
from mu2net.errors import ConfigError, ImageError


def rgb(image_or_bytes) -> np.ndarray:
    decoded = decode_rgb(image_or_bytes, "in row 3")
    assert decoded.mode == "RGB"
    return np.asarray(decoded)


RAMP = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_gray_becomes_three_equal_channels(encoded, kind):
    found = rgb(encoded(Image.fromarray(RAMP), kind))
    assert np.array_equal(found, np.repeat(RAMP[..., None], 3, 2))


def test_one_bit_becomes_black_and_white(encoded):
    image = Image.fromarray(RAMP).point(lambda value: 255 * (value > 127)).convert("1")
    found = rgb(encoded(image))
    assert np.array_equal(found[..., 0], np.where(RAMP > 127, 255, 0))


def test_palette_is_looked_up(encoded, picture):
    image = picture(1).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(rgb(encoded(image)), np.asarray(image.convert("RGB")))


def test_palette_transparency_is_composed_on_white(encoded):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    assert rgb(encoded(image, "PNG", transparency=0))[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    assert rgb(encoded(image, "GIF", transparency=0))[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    assert rgb(encoded(image, "PNG", transparency=bytes([128, 255])))[0].tolist()[1] == [200, 100, 50]


def test_rgb_with_a_transparent_colour_is_composed_on_white(encoded):
    image = Image.new("RGB", (1, 1), (1, 2, 3))
    assert rgb(encoded(image, "PNG", transparency=(1, 2, 3)))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("alpha", "expected"), [(255, 100), (0, 255), (128, 177)])
def test_alpha_is_composed_on_white(encoded, alpha, expected):
    for image in (Image.new("LA", (3, 2), (100, alpha)), Image.new("RGBA", (3, 2), (100, 100, 100, alpha))):
        assert np.abs(rgb(encoded(image)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(encoded, kind):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    data = encoded(cmyk, kind)
    if kind == "JPEG":
        assert b"Adobe" in data  # written inverted, as Photoshop does
    found = rgb(data).reshape(-1, 3).mean(0)
    assert found[0] > 240
    assert found[1:].max() < 15


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_not_clipped(encoded, kind):
    values = np.array([[0, 257, 1000, 32768, 65535]], np.uint16)
    found = rgb(encoded(Image.fromarray(values), kind))[0]
    assert found[:, 0].tolist() == [0, 1, 4, 128, 255]
    assert np.array_equal(found[:, 0], found[:, 2])


def test_16_bit_big_endian_and_pgm():
    values = np.array([[0, 65535], [257, 32768]], ">u2")
    pgm = b"P5 2 2 65535\n" + values.tobytes()
    assert rgb(pgm)[..., 0].tolist() == [[0, 255], [1, 128]]
    assert rgb(Image.frombytes("I;16B", (2, 2), values.tobytes()))[..., 0].tolist() == [[0, 255], [1, 128]]


def test_32_bit_gray_within_16_bits_is_scaled_and_beyond_is_an_error():
    assert rgb(Image.fromarray(np.array([[0, 65535]], np.int32)))[0, :, 0].tolist() == [0, 255]
    with pytest.raises(ImageError, match=r"image in row 3 .* -5 to 70000; expected 0 to 65535"):
        rgb(Image.fromarray(np.array([[-5, 70000]], np.int32)))


def test_float_images():
    assert rgb(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)))[0, :, 0].tolist() == [0, 128, 255]
    assert rgb(Image.fromarray(np.array([[0, 127.6, 255]], np.float32)))[0, :, 0].tolist() == [0, 128, 255]
    for bad in ([[0, np.nan]], [[0, 256]], [[-1, 0]], [[0, np.inf]]):
        with pytest.raises(ImageError, match=r"expected 0 to 255 without NaN"):
            rgb(Image.fromarray(np.array(bad, np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(encoded, orientation):
    upright = Image.new("RGB", (16, 8), "black")
    upright.paste((255, 255, 255), (0, 0, 8, 4))  # white corner at the top left
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(rgb(encoded(stored, "PNG", exif=exif)), np.asarray(upright))


def test_large_images_are_converted_in_bands(encoded, monkeypatch):
    """Of any height, the last one too: the result is that of the whole image at once."""
    rng = np.random.default_rng(5)
    gray = Image.fromarray(rng.integers(0, 65536, (37, 11), np.uint16))
    veiled = Image.fromarray(rng.integers(0, 256, (37, 11, 4), np.uint8))
    palette = Image.fromarray(rng.integers(0, 256, (37, 11, 3), np.uint8)).quantize(16)
    palette.info["transparency"] = bytes(range(0, 256, 16))
    whole = [np.array(decode_rgb(image, "it")) for image in (gray, veiled, palette)]
    rgba = np.array(veiled).astype(float)
    expected = (rgba[..., :3] * rgba[..., 3:] + 255 * (255 - rgba[..., 3:])) / 255
    assert np.abs(whole[1] - expected).max() <= 1
    for band in (1, 11, 50, 36 * 11):
        monkeypatch.setattr(decode, "_BAND", band)
        for image, found in zip((gray, veiled, palette), whole, strict=True):
            np.testing.assert_array_equal(np.array(decode_rgb(image, "it")), found)


def test_first_frame_of_an_animation(encoded):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert rgb(data)[0, 0].tolist() == [255, 0, 0]


def test_a_bomb_is_refused_before_it_is_decoded(encoded):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    small = encoded(Image.new("RGB", (1, 1)))
    start = small.index(b"IHDR") + 4
    import zlib

    bomb = small[:start] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + small[start + 17 :]
    with pytest.raises(ImageError, match=r"in row 3 is too large: expected at most 89,478,485 pixels"):
        rgb(bomb)
    with pytest.raises(ImageError, match=r"expected at most 100 pixels, found 11 x 10"):
        decode_rgb(Image.new("L", (11, 10)), "in row 3", max_pixels=100)


def test_an_icon_may_have_a_few_pictures_and_not_very_many(encoded):
    icon = encoded(Image.new("RGB", (32, 32), "red"), "ICO", sizes=[(16, 16), (32, 32)])
    assert rgb(icon).shape == (32, 32, 3)
    many = icon[:4] + (257).to_bytes(2, "little") + icon[6:]
    with pytest.raises(ImageError, match=r"is an icon of 257 pictures; expected at most 256; save one of them as PNG"):
        rgb(many)
    with pytest.raises(ImageError, match=r"expected at most 1,000 pixels, found 32 x 32"):
        decode_rgb(icon, "in row 3", max_pixels=1000)


def test_bad_images_are_named(tmp_path, encoded, picture):
    whole = encoded(picture(0), "JPEG")
    for data in (b"", b"not an image", whole[: len(whole) // 2], whole[:30]):
        with pytest.raises(ImageError, match=r"image in row 3 does not decode .*skip bad images"):
            rgb(data)
    with pytest.raises(ImageError, match=r"does not exist"):
        rgb(tmp_path / "no.png")
    with pytest.raises(ImageError, match=r"is a folder"):
        rgb(tmp_path)


def test_squeeze_is_antialiased_and_bilinear(picture):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = squeeze(Image.fromarray(stripes), 8)
    assert small.shape == (8, 8, 3)
    assert np.abs(small.astype(int) - 128).max() <= 8
    image = picture(4, (20, 10))
    assert np.array_equal(squeeze(image, 16), np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)))


def test_load_images_takes_every_kind_alike(tmp_path, picture):
    image = picture(5, (20, 14))
    image.save(tmp_path / "a.png")
    array = np.asarray(image)
    rgba = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
    found = load_images([tmp_path / "a.png", str(tmp_path / "a.png"), image, array, rgba], 8)
    assert found.shape == (5, 8, 8, 3)
    assert found.dtype == np.uint8
    assert (found == found[0]).all()
    gray = array[..., 0]
    grays = load_images([gray, gray[..., None], gray.astype(np.uint16) * 257], 8)
    assert (grays == grays[0]).all()
    assert load_images([], 8).shape == (0, 8, 8, 3)


def test_load_images_errors_name_the_item(tmp_path):
    with pytest.raises(ConfigError, match="image 1 of the list is a int"):
        load_images([Image.new("L", (2, 2)), 5], 8)  # type: ignore[list-item]
    for bad in (np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ImageError, match="image 0 of the list is an array"):
            load_images([bad], 8)
    with pytest.raises(ImageError, match=r"image '.*no\.png' does not exist"):
        load_images([tmp_path / "no.png"], 8)


@pytest.mark.parametrize(
    ("single", "found"),
    [
        ("a.png", r"str; write \['a.png'\]"),
        (Path("a.png"), "PosixPath|WindowsPath"),
        (Image.new("L", (2, 2)), "Image; write"),
        (np.zeros((4, 6), np.uint8), r"array of uint8 \[4, 6\]; write \[image\]"),
        (np.zeros((4, 6, 3), np.uint8), r"array of uint8 \[4, 6, 3\]; write \[image\]"),
    ],
)
def test_a_single_image_is_no_list(single, found):
    with pytest.raises(ConfigError, match=f"expected a list of images, found one (?:{found})"):
        load_images(single, 8)


def test_an_array_of_four_dimensions_is_a_batch(picture):
    arrays = [np.asarray(picture(seed)) for seed in (1, 2)]
    assert (load_images(np.stack(arrays), 8) == load_images(arrays, 8)).all()


def test_the_given_image_is_not_changed():
    exif_image = Image.open(io.BytesIO(_rotated()))
    load_images([exif_image], 4)
    assert exif_image.getexif()[0x0112] == 6


def _rotated() -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()
