"""``distill``: what is learnt from a teacher."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dsft.recipe.sections.base import Section, Share


class DistillSection(Section):
    """Learn from a teacher beside the labels."""

    teacher: str = "original"
    """`original` (the network before conversion) or a model folder."""
    logits: Share = 0.5
    """Weight of the teacher's logits in the loss; the labels have the rest. With 0 the teacher need not know the
    task."""
    features: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the relative squared distance of every converted layer's output from the teacher's, which is the
    network before conversion or one like it."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Softens both sets of logits."""
