"""Tables of a check of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.choices import InputKind
from dsft.console.tables import build_table
from dsft.number_format import plural

if TYPE_CHECKING:
    from dsft.data import DataCheck, Same

_MOST_ROWS = 20
_MOST_CLASSES = 40


def contents_table(check: DataCheck) -> Table:
    """List the number and the sizes of the images of each split."""
    first = next(iter(check.splits.values()))
    numbers = [first.kind.plural, "corrupt", *first.flags]
    rows = [
        [
            name,
            f"{contents.count:,}",
            f"{sum(one.split == name for one in check.corrupt):,}",
            *(f"{count:,}" for count in contents.flags.values()),
            *map(_spread, contents.sizes.values()),
            *("-" if share is None else f"{100 * share:.2f}" for share in contents.shares.values()),
        ]
        for name, contents in check.splits.items()
    ]
    shares = [f"{name} %" for name in first.shares]
    columns = ["split", *numbers, *(name.removesuffix("s") for name in first.sizes), *shares]
    return build_table(columns, rows, numbers=[*numbers, *shares])


def classes_table(check: DataCheck) -> Table:
    """Count the images of each class in each split; of very many classes only the largest and the smallest."""
    splits = list(check.splits)
    counts = {
        label: [check.splits[split].classes[label] for split in splits]
        for label in next(iter(check.splits.values())).classes
    }
    by_size = sorted(counts, key=lambda label: -sum(counts[label]))
    shown = by_size
    if len(by_size) > _MOST_CLASSES:
        shown = [*by_size[: _MOST_CLASSES // 2], *by_size[-_MOST_CLASSES // 2 :]]
    left = len(by_size) - len(shown)
    noun = next(iter(check.splits.values())).kind
    title = f"{noun.plural} per class{f'; {left:,} classes of medium size are not listed' if left else ''}"
    rows = [[label, *(f"{count:,}" for count in counts[label])] for label in shown]
    return build_table(["class", *splits], rows, numbers=splits, title=title)


def problem_tables(check: DataCheck) -> Iterator[Table]:
    """List the problems, one table for each kind."""
    noun = next(iter(check.splits.values())).kind
    if check.corrupt:
        rows = [[one.split, one.key, one.message] for one in check.corrupt]
        yield _listed(f"{plural(len(rows), noun)} cannot be read", ["split", noun, "why"], rows)
    leaks = [same for same in check.same if same.is_leak]
    if leaks:
        pairs = ", ".join(f"{count:,} in {one} and {other}" for (one, other), count in check.count_leaks().items())
        content = "pixels" if noun is InputKind.IMAGE else "values"
        yield _listed(f"leaks: identical {content} in two splits ({pairs})", [noun.plural], _rows(leaks))
    if wrong := [same for same in check.same if same.is_contradiction]:
        yield _listed(f"{plural(len(wrong), noun)} with two classes", [noun.plural], _rows(wrong))
    if rest := [same for same in check.same if not same.is_leak and not same.is_contradiction]:
        yield _listed(f"{plural(len(rest), noun)} with copies in the same split", [noun.plural], _rows(rest))


def _listed(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    left = len(rows) - _MOST_ROWS
    more = f"; the first {_MOST_ROWS} (--json lists all)" if left > 0 else ""
    return build_table(columns, rows[:_MOST_ROWS], title=title + more)


def _rows(same: Sequence[Same]) -> list[list[str]]:
    return [[" = ".join(f"{split}: {key} ({label})" for split, key, label in each.places)] for each in same]


def _spread(sizes: tuple[int, int, int] | None) -> str:
    if sizes is None:
        return "-"
    least, middle, most = sizes
    return str(least) if least == most else f"{least} to {most}, median {middle}"
