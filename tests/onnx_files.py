"""What is inside ONNX files."""

from __future__ import annotations

from pathlib import Path

import onnx


def operator_types(path: Path) -> set[str]:
    """Return the types of a file's operators, with the domain as prefix for domains other than ONNX's own."""
    model = onnx.load(str(path), load_external_data=False)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return {f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type for node in nodes}
