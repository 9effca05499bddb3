from __future__ import annotations

import pytest

from dsft.number_format import count


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
