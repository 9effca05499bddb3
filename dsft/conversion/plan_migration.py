"""Plans of earlier versions, in the form of the present one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsft.choices import Decision, Reason, Structure
from dsft.errors import CheckpointError

PLAN_VERSION = 2
"""Version of the plans that are written. Version 1 has no version number."""


def migrate_plan(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a plan as the present version writes them, without their version.

    Args:
        values: A plan as JSON values, of any version.

    Raises:
        CheckpointError: It is of a newer version.
        KeyError, TypeError: It is not a plan.
    """
    version = values.get("version", 1)
    if version not in (1, PLAN_VERSION):
        raise CheckpointError(
            f"plan: is of version {version!r}, and this version of dsft reads up to {PLAN_VERSION}. Upgrade dsft."
        )
    plan = {key: value for key, value in values.items() if key != "version"}
    return plan if version == PLAN_VERSION else {**plan, "layers": [_from_version_1(layer) for layer in plan["layers"]]}


def migrate_report(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of ``conversion.json`` as the present version writes them.

    Args:
        values: Its content, as this or an earlier version wrote it.

    Raises:
        KeyError, TypeError: It is not such a file.
    """
    return {**values, "layers": [_report_from_version_1(layer) for layer in values["layers"]]}


def _report_from_version_1(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a layer of a report with a code for its reason, where it has a sentence of version 1."""
    if "width" in layer:
        return layer
    return {**layer, "reason": _reason_of_version_1(layer), "width": None}


def _reason_of_version_1(layer: Mapping[str, Any]) -> Reason:
    reason = _REASONS_OF_VERSION_1[layer["reason"]]
    is_kept_by_budget = reason is Reason.BUDGET and layer["decision"] != Decision.CONVERTED
    return Reason.WITHIN_BUDGET if is_kept_by_budget else reason


def _from_version_1(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer with a code for its reason and the structure in place of the order.

    Version 1 had sentences as reasons, one for layers that a budget converts and those that it leaves dense, and of
    low-rank layers no order. Its first plans lacked ``weight_shape``, ``form`` and ``adds_bias``.
    """
    is_converted = layer["decision"] == Decision.CONVERTED
    order = layer["order"]
    migrated = {"weight_shape": (), "form": None, "adds_bias": False, **layer}
    del migrated["order"]
    structure = (Structure.LOW_RANK if order is None else order) if is_converted else None
    return {**migrated, "reason": _reason_of_version_1(layer), "structure": structure}


_REASONS_OF_VERSION_1 = {
    "chosen by the budget": Reason.BUDGET,
    "the rank was asked for": Reason.RANK,
    "left out by include or exclude": Reason.EXCLUDED,
    "would not become cheaper": Reason.NOT_CHEAPER,
    "would not become faster": Reason.NOT_FASTER,
    "no structure that is allowed fits": Reason.NO_ALLOWED_STRUCTURE,
    "not run by the example input": Reason.NOT_RUN,
    "kernel of one position": Reason.POINTWISE,
    "depthwise already": Reason.DEPTHWISE,
    "no separable layer for its kind": Reason.UNSUPPORTED_CONVOLUTION,
    "not a 2d convolution": Reason.UNSUPPORTED_CONVOLUTION,
    "a convolution class or forward pass of its own": Reason.CUSTOM_CLASS,
    "a convolution class of its own": Reason.CUSTOM_CLASS,
    "weight is computed from other parameters": Reason.COMPUTED_WEIGHT,
    "weight is no plain tensor of real numbers": Reason.UNSUPPORTED_WEIGHT,
    "no channels": Reason.EMPTY,
    "weight is shared with another module": Reason.SHARED_WEIGHT,
    "held by a plain attribute as well": Reason.OUTSIDE_MODULE_TREE,
    "weight is read outside the layer": Reason.WEIGHT_READ_OUTSIDE,
    "has hooks": Reason.HAS_HOOKS,
    "a new classifier, for other classes": Reason.NEW_CLASSIFIER,
}
