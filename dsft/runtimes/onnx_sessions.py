"""Modules in ONNX Runtime, to be timed there; an optional extra of the installation."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_leaves, tree_map
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.measure.example import ExampleInput, call
from dsft.runtimes.interleaved_timing import Run

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnxruntime(compute: Compute, modules: Iterable[nn.Module] = ()) -> None:
    """Check that ONNX Runtime is installed and is asked for what it can do here.

    Raises:
        ModelError: A package is missing, or another device or number format is asked for.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ModelError(
            f"runtime onnxruntime: needs the package {', '.join(missing)}, which is not installed. Install it with: "
            "pip install 'dsft[onnx]'"
        )
    weights = (weight.dtype for module in modules for weight in module.parameters() if weight.is_floating_point())
    dtype = next((each for each in weights if each is not torch.float32), torch.float32)
    if compute.device.type != "cpu" or dtype is not torch.float32:
        found = f"{compute.device.type}, {str(dtype).removeprefix('torch.')}"
        raise ModelError(
            f"runtime onnxruntime: is measured on the CPU in float32, found {found}. Choose the device cpu, or the "
            "runtime eager."
        )


def open_sessions(
    modules: Sequence[nn.Module], example_inputs: Sequence[ExampleInput], compute: Compute, folder: Path
) -> list[Run]:
    """Export modules and load each into a session with one thread.

    torch's exporter takes a second or more whatever the size, so that it is called once for all modules, and each
    is cut out of the graph.

    Args:
        modules: In evaluation mode.
        example_inputs: The input of each, which fixes its shapes.
        compute: Must be the CPU.
        folder: Where the files are written; the sessions read weights from there as long as they run.

    Raises:
        ModelError: ONNX Runtime is not installed, or cannot run the modules.
    """
    require_onnxruntime(compute, modules)
    import onnx_ir

    # Two inputs that are one tensor would become one input of the graph.
    examples = [tree_map(_as_plain, example) for example in example_inputs]
    side_by_side = _SideBySide(modules).eval()
    outputs = [len(found) for found in side_by_side(examples)]
    model: Any = _export(side_by_side, examples)
    names, results = ([value.name for value in values] for values in (model.graph.inputs, model.graph.outputs))
    runs, first_input, first_output = [], 0, 0
    for place, example in enumerate(examples):
        tensors = [leaf for leaf in tree_leaves(example) if isinstance(leaf, Tensor)]
        ours = names[first_input : first_input + len(tensors)]
        wanted = results[first_output : first_output + outputs[place]]
        first_input, first_output = first_input + len(tensors), first_output + outputs[place]
        part = onnx_ir.convenience.extract(model.graph, inputs=ours, outputs=wanted)
        file = folder / f"{place}.onnx"
        onnx_ir.save(onnx_ir.Model(part, ir_version=model.ir_version), file, external_data=f"{place}.data")
        runs.append(_open_session(file, {name: tensor.numpy() for name, tensor in zip(ours, tensors, strict=True)}))
    return runs


class _SideBySide(nn.Module):
    """Several modules, each with an input of its own; the tensors that each returns."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, examples: list[ExampleInput]) -> list[list[Tensor]]:
        outputs = [call(part, example) for part, example in zip(self.parts, examples, strict=True)]
        return [[leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)] for output in outputs]


def _as_plain(leaf: Any) -> Any:
    return leaf.detach().clone(memory_format=torch.contiguous_format) if isinstance(leaf, Tensor) else leaf


def _export(module: nn.Module, examples: list[ExampleInput]) -> Any:
    try:
        with warnings.catch_warnings():
            # What it warns of is its own code, and the network's, which its user cannot change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(module, (examples,), dynamo=True, verbose=False)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise ModelError(
            f"runtime onnxruntime: the network has no ONNX form ({reason}). Choose the runtime eager."
        ) from error
    assert program is not None  # noqa: S101 (so it is where no file is named)
    return program.model


def _open_session(file: Path, feed: dict[str, Any]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: it warns of what it optimises away
    try:
        session = onnxruntime.InferenceSession(file, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes of errors have no public base
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"runtime onnxruntime: cannot run the network ({reason}). Choose the runtime eager."
        ) from error
    return partial(session.run, None, feed)
