"""``data.text``: the input that a network gets of texts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dsft.recipe.sections.base import Section

Count = Annotated[int, Field(ge=1)]


class TextSection(Section):
    """The input that a network gets of texts: the numbers of their tokens.

    A text is put into lower case and divided into words (letters, digits, `_`, and apostrophes between them) and single
    other characters. The vocabulary is that of the train split, and is stored in the model folder.
    """

    length: Count | None = None
    """Number of tokens; longer texts are cut off, shorter ones are padded at the end. By default that of the longest
    training text, but not more than 256."""
    max_words: Count | None = None
    """Size of the vocabulary, which consists of the most frequent tokens. By default 20,000."""
    min_count: Count | None = None
    """How often a token must occur in the train split to be in the vocabulary; all others are one unknown token, which
    is trained only if this is 2 or more. By default 2."""
