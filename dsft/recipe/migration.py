"""Recipes that earlier versions stored in run folders, in the form of the present version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dsft.choices import AUTO, Structure
from dsft.recipe.document import Node, to_node
from dsft.run_files import RUN_FILE


def migrate_stored(entries: Mapping[str, Node], path: Path) -> dict[str, Node]:
    """Replace the keys of earlier versions in the recipe of a run folder; return any other recipe unchanged.

    It is recognised by the record of the run beside it. A recipe that a person wrote is not migrated, so that its
    author learns of the new keys.

    Args:
        entries: The recipe's sections.
        path: The file that they come from.
    """
    convert = entries.get("convert")
    if convert is None or not isinstance(convert.value, dict) or not path.with_name(RUN_FILE).is_file():
        return dict(entries)
    return {**entries, "convert": Node(_without_order(convert.value), convert.place)}


def _without_order(section: Mapping[str, Node]) -> dict[str, Node]:
    """Express ``order``, which the first edition had beside ``structures``, by the structures."""
    rest = {key: node for key, node in section.items() if key != "order"}
    order = section.get("order")
    if order is None or (order.value == AUTO and "structures" in rest):
        return rest
    listed = rest["structures"].value if "structures" in rest else None
    others = [node.value for node in listed] if isinstance(listed, list) else []
    orders = [Structure.DW_PW, Structure.PW_DW] if order.value == AUTO else [order.value]
    structures = [*map(str, orders), *([str(Structure.LOW_RANK)] if Structure.LOW_RANK in others else [])]
    return {**rest, "structures": to_node(structures, order.place)}
