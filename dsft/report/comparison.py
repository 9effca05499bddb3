"""The page of an evaluation of one or more models."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from dsft.choices import InputKind
from dsft.errors import InputError
from dsft.number_format import count, plural
from dsft.report.page import PAGE_FILE, Cell, Table, number, write_page
from dsft.report.sections import Values, command_line, describe_evaluation, read_json, scores_table, versions_text
from dsft.runtimes import MeasuredOn
from dsft.tasks import task_of

COMPARISON_FILE = "models.json"


def write_comparison(folder: Path) -> Path:
    """Write the page of an evaluation, ``report.html``, from the files of its folder.

    Args:
        folder: The output folder of ``dsft evaluate``.

    Returns:
        The path of the page.

    Raises:
        InputError: It is not such a folder.
    """
    if not (folder / COMPARISON_FILE).is_file():
        raise InputError(
            f"evaluation folder {str(folder)!r}: expected the output folder of dsft evaluate, but {COMPARISON_FILE} is "
            "missing."
        )
    found = read_json(folder / COMPARISON_FILE)
    # Evaluations of earlier versions are of images.
    models, kind = found["models"], InputKind(found.get("inputs", InputKind.IMAGE))
    is_timed = models[0]["latency_ms"] is not None
    batch = models[0]["throughput_batch"] if is_timed else None
    calibration = _calibration(models)
    write_page(
        folder / PAGE_FILE,
        "evaluation.html",
        title=" · ".join(model["model"] for model in models),
        summary=f"{plural(len(models), 'model')} evaluated on {plural(models[0]['metrics']['count'], kind)} of the "
        f"{models[0]['metrics']['split']} split.",
        tables=[
            scores_table("Scores", [(model["model"], model["metrics"]) for model in models], {}, kind),
            *([_differences(models, kind)] if len(models) > 1 else []),
            *([calibration] if calibration.rows else []),
            _costs(models, kind),
        ],
        circumstances=MeasuredOn(**found["measured_on"]).footprint_sentences(kind, batch),
        evaluations=[describe_evaluation(folder / model["slot"], model["model"], kind) for model in models],
        commands=f"{command_line(found['command'])}\n# write this page again\n{_report_command(folder)}".strip(),
        circumstances_of_run=[("versions", versions_text(found["versions"]))],
    )
    return folder / PAGE_FILE


def _report_command(folder: Path) -> str:
    return shlex.join(["dsft", "report", folder.as_posix()])


def _differences(models: Sequence[Values], kind: InputKind) -> Table:
    task = task_of(models[0]["metrics"])
    main, is_counted = task.scorer.layout.main, task.labels is not None
    counts = ["only this correct", "only first correct", "McNemar p"] if is_counted else []
    numbers = [main.difference_unit, "95 % CI", *counts]
    rows = [
        [
            Cell(model["model"]),
            number(main.points * model["difference"][main.name], "+.2f"),
            Cell(
                " to ".join(f"{main.points * end:+.2f}" for end in model["difference"]["interval"]),
                model["difference"]["interval"][0],
            ),
            *(
                [
                    number(model["difference"]["only_this_right"], ",d"),
                    number(model["difference"]["only_other_right"], ",d"),
                    number(model["difference"]["mcnemar_p"], ".3g"),
                ]
                if is_counted
                else []
            ),
        ]
        for model in models[1:]
    ]
    return Table(
        f"{main.title} minus that of {models[0]['model']}, on the same {kind.plural}",
        ["model", *numbers],
        numbers,
        rows,
    )


def _calibration(models: Sequence[Values]) -> Table:
    numbers = ["temperature", "NLL", "Brier", "ECE %"]
    rows = [
        [
            Cell(model["model"]),
            number(scaled["temperature"], ".3f"),
            *(number(scaled[name], ".4f") for name in ("nll", "brier")),
            number(100 * scaled["ece"], ".2f"),
        ]
        for model in models
        if (scaled := model["metrics"].get("calibrated")) is not None
    ]
    return Table("After temperature scaling, fitted on val", ["model", *numbers], numbers, rows)


def _costs(models: Sequence[Values], kind: InputKind) -> Table:
    numbers = ["parameters", "MACs", "ratio", "file", "memory", "latency ms", "latency ratio", f"{kind.plural}/s"]
    first = models[0]
    rows = [
        [
            Cell(model["model"]),
            Cell(count(model["params"]), model["params"]),
            Cell(count(model["macs"]), model["macs"]),
            number(model["macs"] / first["macs"], ".3f"),
            Cell(f"{count(model['file_bytes'])}B", model["file_bytes"]),
            Cell("-")
            if model["memory_bytes"] is None
            else Cell(f"{count(model['memory_bytes'])}B", model["memory_bytes"]),
            number(model["latency_ms"], ".2f"),
            number(model["latency_ms"] and model["latency_ms"] / first["latency_ms"], ".3f"),
            number(model["throughput"], ",.0f"),
        ]
        for model in models
    ]
    return Table("Cost; ratios are to the first model", ["model", *numbers], numbers, rows)
