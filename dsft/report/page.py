"""Pages: one self-contained HTML file each, with tables that sort and pictures embedded.

Everything that comes from files is escaped by the template engine; beyond that the page's own policy lets a browser run
nothing but the page's own script and load nothing from anywhere.
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

NOTHING = "-"
"""What stands in a cell without a value."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and the number that it is sorted by where it is one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table that sorts; the columns that are ``numbers`` are set to the right."""

    caption: str
    columns: Sequence[str]
    numbers: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """An embedded PNG file.

    Attributes:
        title: What it shows; stands below it.
        alt: What someone who cannot see it needs to know of it.
        data: Its content as a ``data:`` address.
        width: In pixels of the page.
        height: In pixels of the page.
        is_wide: On a narrow screen it is scrolled rather than shrunk.
    """

    title: str
    alt: str
    data: str
    width: int
    height: int
    is_wide: bool


def number(value: float | None, style: str) -> Cell:
    """Return a cell with a number in a format such as ``.2f``; None is an empty one."""
    return Cell(NOTHING) if value is None else Cell(format(value, style), value)


def embed(path: Path, title: str, alt: str, *, is_wide: bool = False) -> Picture | None:
    """Return a PNG file as a picture of a page; None where there is no such file."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    # The sizes stand in the first chunk of every PNG file (PNG specification, section 11.2.1).
    width, height = struct.unpack(">II", content[16:24])
    data = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    # Drawn at more pixels than it is shown with, so that it is sharp on every screen.
    shown = min(width, 900 if is_wide else 560)
    return Picture(title, alt, data, shown, round(height * shown / width), is_wide)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template into a file.

    Args:
        path: The HTML file; it is written whole or not at all.
        template: Name of the template, such as ``run.html``.
        **values: What it shows.
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
