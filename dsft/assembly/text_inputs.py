"""The input that a data set of texts determines."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from dsft.choices import InputKind
from dsft.data import Split, Transform
from dsft.data.text import TextTransform, build_vocabulary, tokenize
from dsft.errors import DataError, ModelError, RecipeError
from dsft.preprocessing import UNKNOWN, InputPreprocessing, TextPreprocessing
from dsft.recipe.sections import AugmentSection, TextSection

_LONGEST, _MAX_WORDS, _MIN_COUNT = 256, 20_000, 2


@dataclass(frozen=True)
class TextData:
    """Implements :class:`dsft.assembly.inputs.DataInput` for texts.

    Attributes:
        section: What the recipe says of it.
        train: The training texts.
    """

    section: TextSection
    train: Split

    @property
    def kind(self) -> InputKind:
        """Texts."""
        return InputKind.TEXT

    @property
    def arguments(self) -> Mapping[str, int]:
        """The number of different tokens."""
        return self._fitted.arguments

    def fit(self, channels: int | None) -> TextPreprocessing:
        """See :meth:`DataInput.fit`; the vocabulary is that of the training texts."""
        del channels
        return self._fitted

    def adapt(self, known: InputPreprocessing, name: str) -> TextPreprocessing:
        """See :meth:`DataInput.adapt`; only the length can be changed."""
        if not isinstance(known, TextPreprocessing):
            raise ModelError(
                f"model {name}: takes {known.kind.plural}, and the data are texts. Choose another network."
            )
        given = {key: getattr(self.section, key) for key in ("max_words", "min_count")}
        stated = [key for key, value in given.items() if value is not None]
        if stated and self._fitted.words != known.words:
            raise RecipeError(
                f"data.text.{stated[0]}: the weights of {name} are for another vocabulary, of {len(known.words):,} "
                f"words, which the model folder has, found {given[stated[0]]}. Remove it."
            )
        return dataclasses.replace(known, length=self.section.length or known.length)

    @cached_property
    def _fitted(self) -> TextPreprocessing:
        texts, given = list(self._texts()), self.section
        words = build_vocabulary(texts, given.max_words or _MAX_WORDS, given.min_count or _MIN_COUNT)
        if not words:
            raise DataError(
                f"data: no word occurs {given.min_count or _MIN_COUNT} times in the {len(texts):,} readable texts of "
                f"{self.train.source.origin!r}. Lower data.text.min_count, or add texts."
            )
        longest = max(len(tokenize(text)) for text in texts)
        return TextPreprocessing(given.length or min(longest, _LONGEST), words)

    def _texts(self) -> Iterator[str]:
        for index in self.train.indices:
            with contextlib.suppress(DataError):  # the loader handles empty ones
                yield self.train.source.read(index)


def augment_texts(augment: AugmentSection, preprocessing: TextPreprocessing) -> Transform:
    """Return the transform of training texts, which is that of evaluation."""
    del augment
    return TextTransform(preprocessing)


def count_unknown(preprocessing: TextPreprocessing, text: str) -> Mapping[str, tuple[int, int]]:
    """Return how many tokens of a text are not in the vocabulary, and how many there are."""
    numbers = TextTransform(preprocessing).numbers(text)
    return {"unknown": (numbers.count(UNKNOWN), len(numbers))}
