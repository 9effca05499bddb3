from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from dsft.data.text import TextTransform, build_vocabulary, read_text, tokenize
from dsft.errors import DataError
from dsft.preprocessing import TextPreprocessing, read_preprocessing

TEXTS = ["The cat sat. The cat!", "a dog sat", "Don't sit, it's a DON'T"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't  stop:\tNOW!!", ["don't", "stop", ":", "now", "!", "!"]),
        ("'quoted' rock'n'roll", ["'", "quoted", "'", "rock'n'roll"]),
        ("\u00c4pfel_2 x-y", ["\u00e4pfel_2", "x", "-", "y"]),
        (" \n", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@given(st.text(max_size=40))
@settings(max_examples=50)
def test_tokens_are_the_text_without_spaces(text: str) -> None:
    assert "".join(tokenize(text)) == "".join(text.lower().split())


def test_the_vocabulary_is_that_of_scikit_learn_in_order_of_frequency() -> None:
    vectorizer: Any = CountVectorizer(tokenizer=tokenize, token_pattern=None)  # type: ignore[no-untyped-call]
    totals = vectorizer.fit_transform(TEXTS).sum(0).A1
    counts = dict(zip(vectorizer.get_feature_names_out(), totals, strict=True))
    expected = sorted(counts, key=lambda word: (-counts[word], word))
    assert build_vocabulary(TEXTS, 1000, 1) == tuple(expected)
    assert build_vocabulary(TEXTS, 3, 1) == tuple(expected[:3])
    assert build_vocabulary(TEXTS, 1000, 2) == tuple(word for word in expected if counts[word] >= 2)


def test_a_text_is_numbers_that_are_cut_off_or_padded() -> None:
    own = TextPreprocessing(4, ("cat", "the"))
    transform = TextTransform(own)
    assert transform("The cat").tolist() == [3, 2, 0, 0]
    assert transform("the dog the cat the").tolist() == [3, 1, 3, 2]
    assert own.num_tokens == 4
    assert Counter(transform.numbers("a b cat"))[1] == 2
    assert read_preprocessing(own.to_dict()) == own


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_files_without_a_text_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt'"):
        read_text(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("\ufeffgood", encoding="utf-8")
    assert read_text(tmp_path / "a.txt") == "good"
