from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from dsft.report.page import Cell, Table, embed, number, write_page

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\" ' & {{ 7 * 7 }}"


class Parsed(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def written(folder: Path, title: str = "title", table: Table | None = None) -> str:
    tables = [table or Table("scores", ["name", "n"], ["n"], [[Cell("a"), number(1.0, ".2f")]])]
    write_page(
        folder / "report.html",
        "evaluation.html",
        title=title,
        summary=title,
        tables=tables,
        circumstances=title,
        evaluations=[],
        commands=title,
        circumstances_of_run=[(title, title)],
    )
    return (folder / "report.html").read_text(encoding="utf-8")


def test_what_comes_from_data_is_text_and_never_markup(tmp_path: Path) -> None:
    table = Table(EVIL, [EVIL], [], [[Cell(EVIL)]])
    page = Parsed(written(tmp_path, EVIL, table))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in page.tags)
    assert page.words.count(EVIL) >= 6
    assert dict(page.tags)["div"]["aria-label"] == EVIL


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else(tmp_path: Path) -> None:
    text = written(tmp_path)
    policy = next(a["content"] for t, a in Parsed(text).tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.findall(r"https?://", text)


def test_numbers_have_a_sort_value_and_empty_cells_have_none(tmp_path: Path) -> None:
    table = Table("t", ["name", "n"], ["n"], [[Cell("a"), number(1234.5, ",.0f")], [Cell("b"), number(None, ".2f")]])
    page = Parsed(written(tmp_path, table=table))
    cells = [attributes for tag, attributes in page.tags if tag == "td"]
    assert cells == [{"class": "number", "data-value": "1234.5"}, {"class": "number"}]
    assert "1,234" in page.words
    heads = [attributes["scope"] for tag, attributes in page.tags if tag == "th"]
    assert heads == ["col", "col", "row", "row"]


@pytest.mark.parametrize(
    ("size", "is_wide", "shown"), [((800, 400), False, (560, 280)), ((300, 100), True, (300, 100))]
)
def test_a_picture_is_embedded_whole(
    tmp_path: Path, size: tuple[int, int], is_wide: bool, shown: tuple[int, int]
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", size).save(path)
    picture = embed(path, "title", "alt", is_wide=is_wide)
    assert picture is not None
    assert base64.b64decode(picture.data.removeprefix("data:image/png;base64,")) == path.read_bytes()
    assert (picture.width, picture.height, picture.is_wide) == (*shown, is_wide)
    assert embed(tmp_path / "none.png", "title", "alt") is None
