"""Running networks: timing in each runtime, export to files, parity checks and quantization."""

from dsft.runtimes.batchnorm_folding import fold_norms
from dsft.runtimes.footprint import Footprint, measure_footprints
from dsft.runtimes.latency import MeasuredOn, compare_latency, measured_on, median_times
from dsft.runtimes.latency_table import LatencyTable
from dsft.runtimes.onnx_export import write_onnx
from dsft.runtimes.onnx_int8 import quantize_onnx
from dsft.runtimes.onnx_runtime import OnnxSession, require_onnx
from dsft.runtimes.onnx_sessions import open_exported
from dsft.runtimes.parity import TOLERANCE, Int8, Parity, compare_outputs
from dsft.runtimes.registry import RUNTIMES, open_runs
from dsft.runtimes.tracing import graph_of, trace, trace_folded

__all__ = [
    "RUNTIMES",
    "TOLERANCE",
    "Footprint",
    "Int8",
    "LatencyTable",
    "MeasuredOn",
    "OnnxSession",
    "Parity",
    "compare_latency",
    "compare_outputs",
    "fold_norms",
    "graph_of",
    "measure_footprints",
    "measured_on",
    "median_times",
    "open_exported",
    "open_runs",
    "quantize_onnx",
    "require_onnx",
    "trace",
    "trace_folded",
    "write_onnx",
]
