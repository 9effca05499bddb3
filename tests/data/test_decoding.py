from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.data.decoding import read_image
from dsft.errors import DataError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP.T, RAMP[::-1]], axis=-1)


def test_sixteen_bits_are_scaled_to_eight_without_clipping(tmp_path: Path) -> None:
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), RAMP)


def test_big_endian_sixteen_bits(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([0x80, 0x80, 0xFF, 0xFF]))
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.pgm")), [[128, 255]])


def test_grayscale_stays_grayscale(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "l.png")
    Image.fromarray(np.stack([RAMP, RAMP], axis=-1), "LA").save(tmp_path / "la.png")
    Image.fromarray(RAMP > 100).save(tmp_path / "one.png")
    for name, expected in (("l.png", RAMP), ("la.png", RAMP), ("one.png", (RAMP > 100) * 255)):
        image = read_image(tmp_path / name)
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_transparency_is_dropped_and_palettes_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([COLOURS, RAMP])).save(tmp_path / "rgba.png")
    palette = Image.fromarray(RAMP).convert("P")
    palette.putpalette(COLOURS.reshape(-1, 3).tobytes())
    palette.save(tmp_path / "p.png")
    palette.save(tmp_path / "p.gif")
    palette.save(tmp_path / "clear.png", transparency=bytes(range(256)))
    for name in ("rgba.png", "p.png", "p.gif", "clear.png"):
        image = read_image(tmp_path / name)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), COLOURS, err_msg=name)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    image = read_image(tmp_path / "red.jpg")
    assert image.mode == "RGB"
    np.testing.assert_allclose(np.asarray(image)[4, 4], [255, 0, 0], atol=3)


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, COLOURS),
        (2, COLOURS[:, ::-1]),
        (3, COLOURS[::-1, ::-1]),
        (4, COLOURS[::-1]),
        (5, COLOURS.transpose(1, 0, 2)),
        (6, np.rot90(COLOURS, -1)),
        (7, COLOURS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(COLOURS)),
    ],
)
def test_the_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, shown: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "turned.png")), shown)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff"]
)
def test_damaged_metadata_does_not_spoil_good_pixels(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(COLOURS).save(tmp_path / "b.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg"))


def test_a_file_that_is_not_an_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    Image.fromarray(np.tile(COLOURS, (8, 8, 1))).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    files = {"cut.jpg": whole[: len(whole) // 2], "empty.png": b"", "page.jpg": b"<html>not found</html>"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.png").mkdir()
    for name in (*files, "folder.png", "missing.jpg"):
        with pytest.raises(DataError, match=rf"(?s){name}.*cannot be read as an image.*Repair or remove it"):
            read_image(tmp_path / name)


def test_floating_point_pixels_are_refused_since_their_range_is_unknown(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match="range of floating-point pixels is unknown"):
        read_image(tmp_path / "f.tif")
