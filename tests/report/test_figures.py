from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from dsft.report.figures import drawing, shorten


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ant", "ant"),
        ("a" * 24, "a" * 24),
        ("abcdefghijklmnopqrstuvwxyz", "abcdefghijk…opqrstuvwxyz"),
        ("two\nlines  and spaces", "two lines and spaces"),
        ("", ""),
    ],
)
def test_long_names_lose_their_middle(name: str, shown: str) -> None:
    assert shorten(name) == shown
    assert len(shorten(name)) <= 24


def test_a_picture_has_the_requested_size(tmp_path: Path) -> None:
    with drawing(tmp_path / "new" / "a.png", width=3, height=2, dpi=100) as figure:
        figure.add_subplot()
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert (image.format, image.size) == ("PNG", (300, 200))


def test_a_failure_writes_nothing_and_no_setting_of_the_caller_changes(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    with pytest.raises(ZeroDivisionError), drawing(tmp_path / "a.png"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    assert dict(mpl.rcParams) == before
