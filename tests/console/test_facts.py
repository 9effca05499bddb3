from __future__ import annotations

from typing import Any

from dsft.console import facts_table
from dsft.preprocessing import SignalPreprocessing, TextPreprocessing

FACTS: dict[str, Any] = {"network": "python/net", "image_size": [16], "params": 10, "macs": 20}
MANIFEST: dict[str, Any] = {
    "plan": None,
    "classes": None,
    "data": None,
    "weights": "raw",
    "sha256": "f" * 64,
    "versions": {"dsft": "1"},
}


def described(preprocessing: dict[str, Any]) -> str:
    table = facts_table({**FACTS, "manifest": {**MANIFEST, "preprocessing": preprocessing}})
    names, values = (list(column.cells) for column in table.columns)
    return str(values[[str(name) for name in names].index("preprocessing")])


def test_a_vocabulary_is_counted_and_a_mean_is_rounded() -> None:
    texts = TextPreprocessing(16, tuple(f"word{number}" for number in range(20_000)))
    assert described(texts.to_dict()) == "kind text, length 16, words (20,000 values)"
    signals = SignalPreprocessing((4000,), 1, (2.5971499762976732e-05,), (0.20179622174560252,), 4000)
    assert "length (4000), channels 1, mean (2.597e-05), std (0.2018), rate 4000" in described(signals.to_dict())
