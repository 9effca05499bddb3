"""The recipes that ship with dsft."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dsft import storage
from dsft.errors import OutputError, RecipeError, did_you_mean
from dsft.recipe.yaml12 import plain_scalar

_FIRST_LINE = re.compile(r"# dsft (?P<verb>[a-z-]+) (?P<name>\S+)")
_BUILDER = re.compile(r"\bbuilder: *\"?([\w.-]+\.py):")
_NAME_LINE = re.compile(r"^name:.*$", re.MULTILINE)


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe that is installed with the package.

    Attributes:
        name: The name by which commands refer to it; also the stem of its file.
        verb: The command that it is written for: ``train`` or ``finetune``.
        summary: What it does, from the comment at its top.
    """

    name: str
    verb: str
    summary: str


def recipes_folder() -> Path:
    """Return the folder of the shipped recipes: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_recipes() -> tuple[ShippedRecipe, ...]:
    """Return the shipped recipes in alphabetical order.

    Raises:
        RecipeError: The first line of a recipe is not its command.
    """
    return tuple(_read_comment(path) for path in sorted(recipes_folder().glob("*.yaml")))


def shipped_path(name: str) -> Path:
    """Return the file of a shipped recipe.

    Raises:
        RecipeError: There is no shipped recipe of that name.
    """
    names = [recipe.name for recipe in shipped_recipes()]
    if name not in names:
        proposal = did_you_mean(name, names) or " dsft recipes ls lists them."
        raise RecipeError(f"no recipe {name!r} ships with dsft.{proposal}")
    return recipes_folder() / f"{name}.yaml"


def copy_recipe(name: str, target: Path, overwrite: bool) -> Path:
    """Copy a shipped recipe to a new file, and return that file.

    The copy is named after its file, so that its runs get a folder of their own. The Python file of a builder that the
    recipe names is copied beside it, unless there is one.

    Args:
        name: The shipped recipe.
        target: The new file, or an existing folder that receives ``NAME.yaml``.
        overwrite: Replace an existing file.

    Raises:
        RecipeError: There is no shipped recipe of that name.
        OutputError: The new file exists and ``overwrite`` is off.
    """
    source = shipped_path(name)
    file = target / source.name if target.is_dir() else target
    if file.exists() and not overwrite:
        raise OutputError(f"{str(file)!r} exists. Choose another name, or replace it with --overwrite.")
    text = source.read_text(encoding="utf-8")
    for builder in _BUILDER.findall(text):
        # The user's own version of it is kept.
        if not (beside := file.with_name(builder)).exists():
            storage.write_text(beside, (source.parent / builder).read_text(encoding="utf-8"))
    storage.write_text(file, text if file.stem == name else _renamed(text, file))
    return file


def _renamed(text: str, file: Path) -> str:
    """Name a recipe, and the command on its first line, after a file."""
    # Of a stem, only what is allowed in a name of a run.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")
    if not name:
        return text
    value = name if isinstance(plain_scalar(name), str) else f'"{name}"'
    text = _NAME_LINE.sub(f"name: {value}", text, count=1)
    return _FIRST_LINE.sub(lambda line: f"# dsft {line['verb']} {file.name}", text, count=1)


def _read_comment(path: Path) -> ShippedRecipe:
    first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    command = _FIRST_LINE.match(first)
    if command is None or command["name"] != path.stem:
        expected = f"# dsft train {path.stem}"
        raise RecipeError(f"{path}:1  expected the recipe's command, such as {expected!r}, found {first!r}.")
    end = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    summary = " ".join(line.removeprefix("#").strip() for line in lines[:end])
    return ShippedRecipe(path.stem, command["verb"], summary)
