from __future__ import annotations

from dsft.choices import InputKind
from dsft.console import timing_table
from dsft.runtimes.interleaved_timing import Spread, Timing

TIMING = Timing(Spread(4.0, 3.5, 4.5), Spread(0.5, 0.4, 0.6), 7)


def test_throughput_is_counted_in_what_the_network_takes() -> None:
    rows = [("net", "eager", "float32", 8, TIMING)]
    for kind, heading in [(InputKind.IMAGE, "images/s"), (InputKind.TEXT, "texts/s")]:
        columns = {str(column.header): list(column.cells) for column in timing_table(rows, kind).columns}
        assert [str(cell) for cell in columns[heading]] == ["2000.0"]
