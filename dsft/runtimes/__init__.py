"""Running networks: timing in each runtime, export to files, parity checks and quantization."""

from dsft.runtimes.batchnorm_folding import fold_norms
from dsft.runtimes.exported_network import SCORED_SUFFIXES, ExportedNetwork
from dsft.runtimes.footprint import Footprint, measure_footprints
from dsft.runtimes.int8 import QUANTIZED_FORMATS, quantize_file, require_int8, why_unquantizable
from dsft.runtimes.latency import MeasuredOn, compare_latency, measured_on, median_times
from dsft.runtimes.latency_table import LatencyTable
from dsft.runtimes.onnx_export import write_onnx
from dsft.runtimes.onnx_runtime import OnnxSession, require_onnx
from dsft.runtimes.parity import TOLERANCE, Int8, Parity, compare_outputs
from dsft.runtimes.registry import FILE_FORMATS, RUNTIMES, open_exported, open_runs, why_unusable
from dsft.runtimes.runtime import DropLimit, FileFormat, Session
from dsft.runtimes.tracing import graph_of, input_shape, trace, trace_folded

__all__ = [
    "FILE_FORMATS",
    "QUANTIZED_FORMATS",
    "RUNTIMES",
    "SCORED_SUFFIXES",
    "TOLERANCE",
    "DropLimit",
    "ExportedNetwork",
    "FileFormat",
    "Footprint",
    "Int8",
    "LatencyTable",
    "MeasuredOn",
    "OnnxSession",
    "Parity",
    "Session",
    "compare_latency",
    "compare_outputs",
    "fold_norms",
    "graph_of",
    "input_shape",
    "measure_footprints",
    "measured_on",
    "median_times",
    "open_exported",
    "open_runs",
    "quantize_file",
    "require_int8",
    "require_onnx",
    "trace",
    "trace_folded",
    "why_unquantizable",
    "why_unusable",
    "write_onnx",
]
