"""Tables of results, legible with and without colour, at 80 columns and in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from dsft.choices import InputKind

if TYPE_CHECKING:
    from dsft.tasks import CalibratedMetrics, Metrics, MetricSpec, ProbabilityMetrics

_MOST_CLASSES = 40
_LOSS = "loss"  # detectors have none in evaluation mode
_NARROWEST_TEXT = 8  # columns of a terminal


def build_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[str] = (),
    title: str | None = None,
    footer: Sequence[str] | None = None,
) -> Table:
    """Build a table of text cells, which are never interpreted as markup.

    Args:
        columns: The headings.
        rows: The cells of each row, one for each column.
        numbers: The headings of columns of numbers, which are right-aligned and never broken.
        title: A line above the table.
        footer: A last row, separated from the others.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title_justify="left", title_style="bold")
    table.title = None if title is None else Text(title)
    rows = [*rows, *([] if footer is None else [footer])]
    for name, *cells in zip(columns, *rows, strict=True):
        # On a terminal that is too narrow, text is wrapped and numbers are not.
        width = max(map(cell_len, (name, *cells)))
        if name in numbers:
            table.add_column(Text(name), justify="right", no_wrap=True, min_width=width)
        else:
            table.add_column(Text(name), overflow="fold", min_width=min(width, _NARROWEST_TEXT))
    for number, row in enumerate(rows, start=1):
        table.add_row(*map(Text, row), end_section=footer is not None and number == len(rows) - 1)
    return table


def metrics_table(
    rows: Sequence[tuple[str, Metrics]],
    untrained: Sequence[float | None] = (),
    latencies: Mapping[str, float] | None = None,
    kind: InputKind = InputKind.IMAGE,
) -> Table:
    """Compare the scores of models on splits.

    Args:
        rows: A label, such as the model's folder, and its metrics; all of one task.
        untrained: The main score of each model before fine-tuning; None where it is not known.
        latencies: Milliseconds of a forward pass of one image by label, where they are known.
        kind: What the models are scored on.
    """
    layout = rows[0][1].layout
    numbers: dict[str, Callable[[Metrics], str]] = {
        kind.plural: lambda metrics: str(metrics.count),
        "skipped": lambda metrics: str(metrics.skipped),
        **({"loss": lambda metrics: f"{getattr(metrics, _LOSS):.4f}"} if hasattr(rows[0][1], _LOSS) else {}),
        layout.main.label: _shown(layout.main),
        "95 % CI": layout.interval_in,
        **{figure.label: _shown(figure) for figure in layout.others},
    }
    if not any(metrics.skipped for _, metrics in rows):
        del numbers["skipped"]
    cells = [[label, metrics.split, *(show(metrics) for show in numbers.values())] for label, metrics in rows]
    headings = list(numbers)
    if any(score is not None for score in untrained):
        place = headings.index(layout.main.label)
        headings.insert(place, "untrained")
        for row, score in zip(cells, untrained, strict=True):
            row.insert(2 + place, "-" if score is None else layout.main.format(score))
    if latencies:
        headings.append("ms")
        for row in cells:
            row.append(f"{latencies[row[0]]:.2f}" if row[0] in latencies else "-")
    return build_table(["model", "split", *headings], cells, numbers=headings, title=layout.title)


def calibration_table(rows: Sequence[tuple[str, ProbabilityMetrics]]) -> Table:
    """Compare how well calibrated the probabilities of models are, before and after temperature scaling.

    Args:
        rows: A label, such as the model's folder, and its metrics.
    """
    numbers = ["temperature", "NLL", "Brier", "ECE %"]
    cells: list[Sequence[str]] = []
    for label, metrics in rows:
        cells.append([label, *_probabilities(1.0, metrics)])
        if metrics.calibrated is not None:
            cells.append([label, *_probabilities(metrics.calibrated.temperature, metrics.calibrated)])
    return build_table(["model", *numbers], cells, numbers=numbers, title=f"Calibration on {rows[0][1].split}")


def per_class_table(metrics: Metrics, kind: InputKind = InputKind.IMAGE) -> Table:
    """List the scores of every class; of more than 40 classes, those with the lowest."""
    classes, order = list(metrics.per_class), metrics.layout.order
    title = f"Classes of {metrics.split}, in percent"
    if len(classes) > _MOST_CLASSES:
        title += f": the {_MOST_CLASSES} of {len(classes)} with the lowest {order.label}"
        classes = sorted(classes, key=lambda scores: order.rank_in(scores))[:_MOST_CLASSES]
    figures = metrics.layout.classes
    support = metrics.layout.support_of(kind)
    numbers = [*(figure.label for figure in figures), support]
    total = sum(scores.support for scores in metrics.per_class)
    return build_table(
        ["class", *numbers],
        ([scores.name, *(figure.format_in(scores) for figure in figures), str(scores.support)] for scores in classes),
        numbers=numbers,
        title=title,
        footer=[
            "macro mean",
            *(figure.format(figure.mean_in(metrics)) for figure in figures),
            str(metrics.count if support == kind.plural else total),
        ],
    )


def _shown(figure: MetricSpec) -> Callable[[Metrics], str]:
    return lambda metrics: figure.format(figure.value_in(metrics))


def _probabilities(temperature: float, scores: ProbabilityMetrics | CalibratedMetrics) -> list[str]:
    return [f"{temperature:.3f}", f"{scores.nll:.4f}", f"{scores.brier:.4f}", f"{100 * scores.ece:.2f}"]
