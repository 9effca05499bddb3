"""What every section of a recipe is, and the numbers that several use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, le=1)]


Share = Annotated[float, Field(ge=0, le=1)]


OpenShare = Annotated[float, Field(gt=0, lt=1)]


Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know.

    A rule between keys raises a ``ValueError`` whose text begins with the key at fault and a colon; what was
    found there is added where the error is shown.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
