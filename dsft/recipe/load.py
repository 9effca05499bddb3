"""Load a recipe: read, extend, override, interpolate and validate it, and report all problems at once."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dsft.errors import InputError, RecipeError, nearest
from dsft.recipe.document import VALUES, Node, Place, Problem, descend, merge, read_yaml, shorten, to_node, to_plain
from dsft.recipe.explain import explain
from dsft.recipe.interpolation import escape, interpolate
from dsft.recipe.migration import migrate_stored
from dsft.recipe.overrides import apply_overrides
from dsft.recipe.schema import recipe_schema, with_defaults
from dsft.recipe.sections import Recipe
from dsft.recipe.shipped import shipped_path, shipped_recipes
from dsft.recipe.yaml12 import Dumper
from dsft.run_files import RECIPE_FILE


@dataclass(frozen=True)
class Rule:
    """A check of a valid recipe that needs more than the recipe, such as the names that a library knows.

    Attributes:
        key: The key that is checked, such as ``optim.opt``.
        check: Raises an ``InputError`` if the value is invalid; the message may begin with the key.
    """

    key: str
    check: Callable[[Recipe], object]


def load_recipe(reference: str, overrides: Sequence[str] = (), rules: Sequence[Rule] = ()) -> Recipe:
    """Read, complete and validate a recipe.

    The value of a key comes from the overrides, else from the recipe, else from the recipe that it extends, else
    from the defaults.

    Args:
        reference: A path, or the name of a recipe that ships with dsft, or the folder of a run, which stands for the
            recipe of that run with this folder as ``output.dir``.
        overrides: ``section.key=value`` or ``~section.key``, with values in YAML 1.2.
        rules: Further checks, applied if the recipe itself is valid.

    Raises:
        RecipeError: The recipe is invalid. The message lists every problem with file, line and key, in the order of
            the files.
    """
    problems: list[Problem] = []
    path = _find(reference, Path())
    chain = _read_chain(path, problems)
    document = _merged(chain)
    if path == Path(reference, RECIPE_FILE):
        # The run may have been moved since its recipe was written.
        document = apply_overrides(
            document, [f"output.dir={json.dumps(escape(reference), ensure_ascii=False)}"], problems
        )
    return _validated(apply_overrides(document, overrides, problems), problems, chain, rules)


def make_recipe(values: Mapping[str, Any] | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Complete and validate a recipe that is given as values instead of a file.

    Args:
        values: The sections, as the YAML file has them, ``extends`` included; or a recipe.
        overrides: See :func:`load_recipe`.

    Raises:
        RecipeError: The recipe is invalid.
    """
    if isinstance(values, Recipe):
        values = _escaped(values.model_dump(mode="json"))
    problems: list[Problem] = []
    place = Place(VALUES, 0)
    try:
        entries = to_node(json.loads(json.dumps(values, default=str)), place).value
    except ValueError as error:
        raise RecipeError(f"recipe: the values must be those of a YAML file ({error}).") from error
    if not isinstance(entries, dict):
        raise RecipeError(f"recipe: expected sections by name, found {type(values).__name__}.")
    extended = _extended(entries.pop("extends", None), Path(), [])
    chain = [_Layer(VALUES, Node(entries, place)), *(_read_chain(extended, problems) if extended is not None else ())]
    return _validated(apply_overrides(_merged(chain), overrides, problems), problems, chain, ())


def _merged(chain: Sequence[_Layer]) -> Node:
    """Return the recipe that a chain of files amounts to: each overlays the ones that it extends."""
    document = chain[-1].document
    for layer in reversed(chain[:-1]):
        document = merge(document, layer.document)
    return document


def _validated(document: Node, problems: list[Problem], chain: Sequence[_Layer], rules: Sequence[Rule]) -> Recipe:
    document = interpolate(with_defaults(document, recipe_schema()), problems)
    recipe: Recipe | None = None
    try:
        # In pydantic's strict mode JSON text, unlike Python objects, may give an enum member by its value.
        recipe = Recipe.model_validate_json(json.dumps(to_plain(document)))
    except ValidationError as error:
        reported = {problem.path for problem in problems}
        explained = explain(error, document)
        causes = {problem.path for problem in explained}
        problems = [problem for problem in problems if problem.cause not in causes]
        problems += [problem for problem in explained if problem.path not in reported]
    if recipe is not None and not problems:
        problems += _broken_rules(recipe, document, rules)
    if recipe is None or problems:
        raise _error(problems, [layer.file for layer in chain])
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """Return the complete recipe as YAML; :func:`load_recipe` reads an equal recipe back."""
    values = _escaped(recipe.model_dump(mode="json"))
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


@dataclass(frozen=True)
class _Layer:
    """One file of a recipe, without its key ``extends``; ``file`` is its name in messages."""

    file: str
    document: Node


def _read_chain(path: Path, problems: list[Problem]) -> list[_Layer]:
    """Return the recipe at ``path``, followed by the recipe that it extends, and so on."""
    layers: list[_Layer] = []
    visited: list[Path] = []
    next_path: Path | None = path
    while next_path is not None:
        visited.append(next_path.resolve())
        file = _short(next_path)
        entries = _located(migrate_stored(_read_sections(next_path, file, problems), next_path), next_path.parent)
        layers.append(_Layer(file, Node({k: v for k, v in entries.items() if k != "extends"}, Place(file, 1))))
        next_path = _extended(entries.get("extends"), next_path.parent, visited)
    return layers


def _located(entries: dict[str, Node], folder: Path) -> dict[str, Node]:
    """Look for the file of a builder in the folder of its recipe, if it is not in the working directory."""
    model = entries.get("model")
    if model is None or not isinstance(model.value, dict) or "builder" not in model.value:
        return entries
    builder = model.value["builder"]
    name, colon, function = builder.value.rpartition(":") if isinstance(builder.value, str) else ("", "", "")
    if not name or Path(name).is_file() or not (folder / name).is_file():
        return entries
    found = dataclasses.replace(builder, value=f"{(folder / name).as_posix()}{colon}{function}")
    return {**entries, "model": dataclasses.replace(model, value={**model.value, "builder": found})}


def _extended(extends: Node | None, folder: Path, visited: list[Path]) -> Path | None:
    if extends is None or extends.value is None:
        return None
    if not isinstance(extends.value, str):
        found = type(extends.value).__name__
        raise _error([Problem(extends.place, ("extends",), f"expected one recipe, found a value of type {found}.")])
    try:
        path = _find(extends.value, folder)
    except RecipeError as error:
        raise _error([Problem(extends.place, ("extends",), str(error))]) from error
    if path.resolve() in visited:
        cycle = " -> ".join(step.name for step in (*visited[visited.index(path.resolve()) :], path))
        raise _error([Problem(extends.place, ("extends",), f"recipes extend each other in a cycle: {cycle}.")])
    return path


def _find(reference: str, folder: Path) -> Path:
    path = folder / reference
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise RecipeError(f"recipe {reference[:80]!r}: {error.strerror}.") from error
    if is_file:
        return path
    names = [recipe.name for recipe in shipped_recipes()]
    if reference in names:
        return shipped_path(reference)
    if is_folder and (path / RECIPE_FILE).is_file():
        return path / RECIPE_FILE
    if is_folder:
        raise RecipeError(
            f"a recipe is a YAML file or the folder of a run, found the folder {reference!r} without {RECIPE_FILE}."
        )
    stems = {name: name for name in names}
    stems |= {file.stem: str(Path(reference).with_name(file.name)) for file in path.parent.glob("*.y*ml")}
    near = [stems[stem] for stem in nearest(path.stem, stems)]
    proposal = f"Did you mean {' or '.join(near)}?" if near else "dsft recipes ls lists those that do."
    raise RecipeError(f"no recipe {reference!r}: no such file, and none of that name ships with dsft. {proposal}")


def _read_sections(path: Path, file: str, problems: list[Problem]) -> dict[str, Node]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = f"byte {error.object[error.start]:#04x} at position {error.start}"
        raise RecipeError(f"{file}: not UTF-8 text, found {at}. Save the file as UTF-8.") from error
    except OSError as error:
        raise RecipeError(f"{file}: cannot be read: {error.strerror}.") from error
    root = read_yaml(text, functools.partial(Place, file), problems)
    if root is None:
        raise _error(problems)
    if root.value is None:
        raise RecipeError(f"{file}: the recipe is empty. 'dsft recipes cp quickstart' copies one to start from.")
    if not isinstance(root.value, dict):
        found = "a list" if isinstance(root.value, list) else shorten(repr(root.value))
        raise RecipeError(f"{file}:{root.place.line}  expected sections at the top level, found {found}.")
    return root.value


def _broken_rules(recipe: Recipe, document: Node, rules: Sequence[Rule]) -> Iterator[Problem]:
    for rule in rules:
        try:
            rule.check(recipe)
        except InputError as error:
            path = tuple(rule.key.split("."))
            place = list(descend(document, path))[-1].place
            # A message that does not depend on recipes begins with the last part of the key only.
            message = str(error).removeprefix(f"{rule.key}: ").removeprefix(f"{path[-1]}: ")
            yield Problem(place, path, message)


def _error(problems: list[Problem], files: Sequence[str] = ()) -> RecipeError:
    order = {file: rank for rank, file in enumerate(files)}
    ordered = sorted(problems, key=lambda one: (order.get(one.place.source, len(order)), one.place.line))
    lines = [str(problem) for problem in ordered]
    return RecipeError("\n".join(lines if len(lines) == 1 else [f"{len(lines)} problems:", *lines]))


def _short(path: Path) -> str:
    """Return a file's name relative to the working directory, if it is in there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return escape(value) if isinstance(value, str) else value
