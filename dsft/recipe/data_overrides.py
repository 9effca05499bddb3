"""Overrides of a data section that no recipe names, such as the one that a model folder records."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import ValidationError

from dsft.errors import RecipeError
from dsft.recipe.document import COMMAND, Place, Problem, to_node, to_plain
from dsft.recipe.explain import explain
from dsft.recipe.overrides import apply_overrides
from dsft.recipe.sections import DataSection
from dsft.recipe.sections.base import Section


class _DataOnly(Section):
    """A recipe that consists of its data section."""

    data: DataSection


def override_data(section: DataSection, overrides: Sequence[str]) -> DataSection:
    """Return a data section changed by overrides such as ``data.seed=1`` or ``~data.root``.

    Raises:
        RecipeError: An override is invalid, or changes another section.
    """
    if not overrides:
        return section
    problems: list[Problem] = []
    document = to_node({"data": section.model_dump(mode="json")}, Place(COMMAND, 0))
    document = apply_overrides(document, overrides, problems)
    values = to_plain(document)
    for name in values:
        if name != "data":
            place = Place(COMMAND, 0)
            problems.append(Problem(place, (name,), "only keys of data can be changed here, such as data.seed=1."))
    try:
        # In pydantic's strict mode JSON text, unlike Python objects, may name an enum's member by its value.
        changed = _DataOnly.model_validate_json(json.dumps({"data": values.get("data")})).data
    except ValidationError as error:
        problems += explain(error, document)
    if problems:
        raise RecipeError("\n".join(map(str, problems)))
    return changed
