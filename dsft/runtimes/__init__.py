"""Everything that runs a network: timing in each runtime, export to a file, parity checks and quantisation."""

from dsft.runtimes.batchnorm_folding import fold_norms
from dsft.runtimes.footprint import Footprint, measure_footprints
from dsft.runtimes.latency import MeasuredOn, compare_latency, compare_runs, measured_on
from dsft.runtimes.latency_table import LatencyTable
from dsft.runtimes.onnx_export import OnnxSession, operator_types, require_onnx, write_onnx
from dsft.runtimes.onnx_int8 import quantize_onnx
from dsft.runtimes.parity import TOLERANCE, Int8, Parity, compare_logits
from dsft.runtimes.registry import open_runs
from dsft.runtimes.tracing import graph_of, trace

__all__ = [
    "TOLERANCE",
    "Footprint",
    "Int8",
    "LatencyTable",
    "MeasuredOn",
    "OnnxSession",
    "Parity",
    "compare_latency",
    "compare_logits",
    "compare_runs",
    "fold_norms",
    "graph_of",
    "measure_footprints",
    "measured_on",
    "open_runs",
    "operator_types",
    "quantize_onnx",
    "require_onnx",
    "trace",
    "write_onnx",
]
