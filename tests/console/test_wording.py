from __future__ import annotations

import pytest

from dsft.console.wording import duration, figure, figures


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (97.2222, "97.22"), (100.0, "100"), (1e-05, "1e-05"), (12345.6, "12346"), (0, "0")],
)
def test_a_figure_has_four_significant_digits(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf"), (1e300, "1e+300")])
def test_unknown_metrics_are_displayed(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (36061, "10:01:01")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_values_that_change_keep_their_length() -> None:
    assert figures({"loss": 2.37, "lr": 0.0011}) == ["loss 2.370", "lr 0.001100"]
