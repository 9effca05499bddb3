"""The table of ``dsft deploy`` in a run's page."""

from __future__ import annotations

from pathlib import Path

from dsft.choices import InputKind
from dsft.number_format import count, plural
from dsft.report.page import NOTHING, Cell, Table, number
from dsft.report.sections import Values, read_json
from dsft.tasks import Task

DEPLOYMENT_FILE = "deployment.json"
"""What ``dsft deploy`` writes into a run folder."""


def deployment_table(folder: Path, task: Task) -> Table | None:
    """Compare the runtimes in which a run's model was measured; None if it was in none."""
    file = folder / DEPLOYMENT_FILE
    if not file.is_file():
        return None
    found, main = read_json(file), task.scorer.layout.main
    batches = list(found["rows"][0]["timings"]) if found["rows"] else []
    times = [name for batch in batches for name in (f"ms, batch {batch}", f"ratio, batch {batch}")]
    numbers = ["file", main.label, "difference", "95 % CI", "outputs differ", *times]
    rows = [
        [
            Cell(row["runtime"]),
            Cell(_dtype(row)),
            Cell(f"{count(row['file_bytes'])}B", row["file_bytes"]),
            Cell(main.with_unit(row["score"]), row["score"]),
            *_difference(row["difference"], main.name, main.points),
            _output_difference(row.get("output_difference")),
            *(
                number(timing[name]["median"], ".3f")
                for timing in row["timings"].values()
                for name in ("milliseconds", "ratio")
            ),
        ]
        for row in found["rows"]
    ]
    # Versions that took images alone did not record it.
    kind = found.get("kind", InputKind.IMAGE)
    title = (
        f"Runtimes: {plural(found['images'], f'test {kind}')}, differences to torch; {found['device']}, threads: "
        f"{found['threads']}, ratios to the unconverted network in the same runtime and dtype"
    )
    return Table(title, ["runtime", "dtype", *numbers], numbers, rows)


def _dtype(row: Values) -> str:
    kept = len(row.get("float_layers", ()))
    return f"{row['dtype']}, {plural(kept, 'layer')} in float32" if kept else str(row["dtype"])


def _output_difference(relative: float | None) -> Cell:
    return Cell(NOTHING) if relative is None else number(relative, ".1e")


def _difference(difference: Values | None, name: str, points: float) -> list[Cell]:
    if difference is None:
        return [Cell(NOTHING), Cell(NOTHING)]
    ends = [points * end for end in difference["interval"]]
    return [number(points * difference[name], "+.2f"), Cell(" to ".join(f"{end:+.2f}" for end in ends), ends[0])]
