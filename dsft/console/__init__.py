"""Everything that is printed: results on standard output, progress and errors on standard error.

No other package prints. Importing this one does not import torch, so that ``dsft --help`` stays fast.
"""

from dsft.console.benchmark import layer_timing_table, timing_table
from dsft.console.data_check import classes_table, contents_table, problem_tables
from dsft.console.deployment import deployment_notes, deployment_table
from dsft.console.exports import int8_sentence, parity_sentence
from dsft.console.facts import environment_table, facts_table
from dsft.console.inspection import inspection_table
from dsft.console.log import write_log
from dsft.console.messages import print_error, print_json, print_result, print_text
from dsft.console.predictions import predictions_table
from dsft.console.progress import progress_for_python, show_progress
from dsft.console.range_test import range_test_sentences
from dsft.console.results import (
    ModelRow,
    circumstances,
    costs_table,
    differences_table,
    footprint_circumstances,
    parameters_line,
    plan_table,
    size_table,
    speed_table,
)
from dsft.console.run_report import run_report
from dsft.console.sweep import sweep_table
from dsft.console.tables import build_table, calibration_table, metrics_table, per_class_table
from dsft.console.verdict import verdict_lines

__all__ = [
    "ModelRow",
    "build_table",
    "calibration_table",
    "circumstances",
    "classes_table",
    "contents_table",
    "costs_table",
    "deployment_notes",
    "deployment_table",
    "differences_table",
    "environment_table",
    "facts_table",
    "footprint_circumstances",
    "inspection_table",
    "int8_sentence",
    "layer_timing_table",
    "metrics_table",
    "parameters_line",
    "parity_sentence",
    "per_class_table",
    "plan_table",
    "predictions_table",
    "print_error",
    "print_json",
    "print_result",
    "print_text",
    "problem_tables",
    "progress_for_python",
    "range_test_sentences",
    "run_report",
    "show_progress",
    "size_table",
    "speed_table",
    "sweep_table",
    "timing_table",
    "verdict_lines",
    "write_log",
]
