"""``distill``: knowledge distillation from a teacher."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dsft.recipe.sections.base import Section, Share


class DistillSection(Section):
    """Knowledge distillation: train on the outputs of a teacher as well as on the labels."""

    teacher: str = "original"
    """`original` (the network before conversion) or a model folder; `model.builder` builds the network of one that is
    your own."""
    logits: Share = 0.5
    """Weight of the teacher's logits in the loss; the labels have the rest. With 0 the teacher need not know the
    task."""
    features: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the relative squared distance between the outputs of every converted layer and of the same layer in the
    teacher, which must be the network before conversion or one with the same layers."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Temperature of both softmax distributions."""
