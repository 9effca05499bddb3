"""Self-contained HTML pages with sortable tables and embedded pictures.

The template engine escapes everything that comes from files. In addition, the page's content security policy allows a
browser to run only the page's own script and to load nothing from elsewhere.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dsft.storage import write_text

PAGE_FILE = "report.html"

NOTHING = "-"
"""Text of a cell without a value."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and for numbers the value to sort by."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A sortable table; the columns in ``numbers`` are right-aligned."""

    caption: str
    columns: Sequence[str]
    numbers: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """An embedded PNG file.

    Attributes:
        title: The caption.
        alt: Text alternative for those who cannot see it.
        data: Its content as a ``data:`` URL.
        width: In CSS pixels.
        height: In CSS pixels.
        is_wide: It has the whole width of the page, and on a narrow screen it is scrolled rather than scaled down.
    """

    title: str
    alt: str
    data: str
    width: int
    height: int
    is_wide: bool


def number(value: float | None, style: str) -> Cell:
    """Return a cell with a number in a format such as ``.2f``; an empty cell for None."""
    return Cell(NOTHING) if value is None else Cell(format(value, style), value)


def embed(path: Path, title: str, alt: str, *, is_wide: bool = False) -> Picture | None:
    """Return a PNG file as a picture of a page; None if there is no such file."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    # Every PNG file has its size in the first chunk (PNG specification, section 11.2.1).
    width, height = struct.unpack(">II", content[16:24])
    data = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    # The file has more pixels than the page displays, so that it is sharp on every screen.
    shown = min(width, 900 if is_wide else 560)
    return Picture(title, alt, data, shown, round(height * shown / width), is_wide)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template into a file.

    Args:
        path: The HTML file; it is written completely or not at all.
        template: Name of the template, such as ``run.html``.
        **values: The variables of the template.
    """
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    page = _environment().get_template(template)
    text = page.render(
        style=style,
        script=script,
        style_hash=_hash_of(style),
        script_hash=_hash_of(script),
        version=importlib.metadata.version("dsft"),
        **values,
    )
    write_text(path, text)


@functools.cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("dsft.report")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def _asset(name: str) -> Markup:
    source, _, _ = jinja2.PackageLoader("dsft.report").get_source(_environment(), name)
    return Markup(source)  # noqa: S704 - a file of this package


def _hash_of(text: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")  # noqa: S704 - letters, digits and signs of base 64
