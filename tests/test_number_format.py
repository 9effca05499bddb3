from __future__ import annotations

import pytest

from dsft.number_format import count, percent_hint, plural


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (35_360, "35.4 k"), (1_000_000, "1 M"), (4_111_514_624, "4.11 G")],
)
def test_counts_have_three_digits_and_a_unit(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize("number", [999_600, 999_999, 999_999_999, 123_456_789_012_345])
def test_rounding_never_shows_an_exponent(number: int) -> None:
    text = count(number)
    assert "e" not in text
    value, unit = text.split()
    assert float(value) * {"k": 1e3, "M": 1e6, "G": 1e9}[unit] == pytest.approx(number, rel=5e-3)


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (1258, "image", "1,258 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "batch", "3 batches"),
        (3, "epoch", "3 epochs"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, noun: str, text: str) -> None:
    assert plural(number, noun) == text


def test_an_irregular_plural_is_given() -> None:
    assert [plural(number, "matrix", "matrices") for number in (1, 2)] == ["1 matrix", "2 matrices"]


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        (50, " For 50 % write 0.5."),
        (12.5, " For 12.5 % write 0.125."),
        (2, ""),
        (1.5, ""),
        (200, ""),
        (float("nan"), ""),
    ],
)
def test_a_percentage_is_recognized(found: float, hint: str) -> None:
    assert percent_hint(found) == hint
