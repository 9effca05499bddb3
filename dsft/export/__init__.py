"""A network as a file that runs without dsft: traced, its norms folded, checked against the network itself."""

from dsft.export.fold import fold_norms
from dsft.export.onnx_runtime import OnnxSession, operator_types, require_onnx, write_onnx
from dsft.export.parity import TOLERANCE, Int8, Parity, compare_logits
from dsft.export.quantize import quantize_onnx
from dsft.export.trace import graph_of, trace

__all__ = [
    "TOLERANCE",
    "Int8",
    "OnnxSession",
    "Parity",
    "compare_logits",
    "fold_norms",
    "graph_of",
    "operator_types",
    "quantize_onnx",
    "require_onnx",
    "trace",
    "write_onnx",
]
