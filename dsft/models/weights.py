"""Read weights files safely, and load their tensors into a module."""

from __future__ import annotations

import argparse
import copy
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from dsft.compat.torch_compile import COMPILED_PREFIX
from dsft.compat.torch_state_dict import with_metadata
from dsft.errors import CheckpointError

# The keys under which training programs save weights in order of preference: averaged weights first.
ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
)
# The prefixes that torch.compile, DistributedDataParallel and Lightning add to every key.
PREFIXES = (COMPILED_PREFIX, "module.", "model.")
PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt")

_SHOWN = 4


@dataclass(frozen=True)
class Weights:
    """The tensors of a weights file.

    Attributes:
        state: Tensors by name, on the CPU.
        origin: A message about the file, and about the entry and the prefix of the tensors in it.
    """

    state: dict[str, Tensor]
    origin: str


def read_weights(path: Path) -> Weights:
    """Read the weights of a ``.safetensors`` file, or of a PyTorch file without running code from it.

    If a file contains several sets of weights, the averaged (EMA) ones are preferred. Prefixes that ``torch.compile``,
    ``DistributedDataParallel`` and Lightning add to every key are removed.

    Raises:
        CheckpointError: The file is missing, damaged, has an unknown format, requires running code, or contains no
            weights.
    """
    where = f"checkpoint {str(path)!r}"
    if not path.is_file():
        found = "found a folder" if path.is_dir() else "there is no such file"
        raise CheckpointError(f"{where}: must be a weights file, {found}.")
    if path.suffix.lower() == ".safetensors":
        content: Any = _read_safetensors(path, where)
    elif path.suffix.lower() in PICKLES:
        content = _read_pickle(path, where)
    else:
        known = ", ".join((".safetensors", *PICKLES))
        raise CheckpointError(f"{where}: the extension must be one of {known}, found {path.suffix!r}.")
    entries, table = _find_table(content, where)
    state, prefix = _without_prefix(table)
    origin = f"Weights of {str(path)!r}"
    origin += f", entry {'.'.join(entries)!r}" if entries else ""
    origin += f", with the prefix {prefix!r} removed from the keys" if prefix else ""
    return Weights(state, f"{origin}.")


def load_weights(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict into a module; on an error the module is unchanged.

    Args:
        module: The network; modified in place.
        state: The state dict, with exactly the keys of the module. Only ``num_batches_tracked`` of BatchNorm may be
            missing, since PyTorch saves it since version 0.4.1 only.
        where: The start of the error message, such as the file.

    Raises:
        CheckpointError: Keys or shapes differ.
    """
    before = copy.deepcopy(module.state_dict())
    full = with_metadata(state, module)
    for key, tensor in before.items():
        if key.endswith(".num_batches_tracked"):
            full.setdefault(key, torch.zeros_like(tensor))
    try:
        # Modules may convert old keys while loading, so comparing keys beforehand would be wrong.
        module.load_state_dict(full)
    except (RuntimeError, ValueError) as error:
        module.load_state_dict(before)
        raise CheckpointError(f"{where}: the weights do not fit the model. {describe_misfit(module, state)}") from error


def describe_misfit(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Describe missing keys, unexpected keys and different shapes, the first few of each."""
    wanted = module.state_dict()
    shapes = [
        f"{key} {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    parts = [
        _listed("missing", [key for key in wanted if key not in state]),
        _listed("unexpected", [key for key in state if key not in wanted]),
        _listed("of another shape", shapes),
    ]
    return " ".join(part for part in parts if part)


def _listed(title: str, items: list[str]) -> str:
    shown = "; ".join(items[:_SHOWN]) + ("; ..." if len(items) > _SHOWN else "")
    return f"{len(items)} {title}: {shown}." if items else ""


def _read_safetensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{where}: not a valid safetensors file ({error}).") from error


def _read_pickle(path: Path, where: str) -> Any:
    try:
        # timm saves its command-line arguments in the file; the class is harmless.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TorchScript archive")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not (names := _needed_code(path)):
            raise CheckpointError(f"{where}: not a PyTorch file, or damaged. Save or download it again.") from error
        raise CheckpointError(
            f"{where}: not a PyTorch file of plain tensors: loading it would run {', '.join(names[:_SHOWN])}. dsft "
            "runs no code from a weights file. Save the state dict only: torch.save(model.state_dict(), path)."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{where}: is a TorchScript program, which runs code when it is loaded, and weights alone are needed. "
                "Save them: torch.save(torch.jit.load(path).state_dict(), new_path)."
            ) from error
        reason = next(iter(str(error).splitlines()), "").partition(". ")[0] or type(error).__name__
        raise CheckpointError(
            f"{where}: not a valid PyTorch file ({reason.rstrip('.')}). Save or download it again."
        ) from error


def _needed_code(path: Path) -> list[str]:
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # only details of a message, and damaged files raise errors of many types
        return []


def _find_table(content: Any, where: str) -> tuple[list[str], dict[str, Tensor]]:
    """Return the state dict in a file, and the keys that lead to it."""
    found = next(_tables(content), None)
    if found is not None:
        return found
    names = f"the entries {', '.join(map(repr, list(content)[:8]))}" if isinstance(content, dict) else None
    raise CheckpointError(
        f"{where}: contains no state dict. Expected tensors by name, at the top level or under one of "
        f"{', '.join(ENTRIES)}; found {names or type(content).__name__}."
    )


def _tables(content: Any) -> Iterator[tuple[list[str], dict[str, Tensor]]]:
    """Yield all state dicts in a file with the keys that lead to them, in order of preference."""
    if not isinstance(content, dict):
        return
    if content and all(isinstance(value, Tensor) for value in content.values()):
        yield [], content
    for name in ENTRIES:
        for entries, table in _tables(content.get(name)):
            yield [name, *entries], table


def _without_prefix(table: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    removed = ""
    while prefix := _common_prefix(table):
        # torch's AveragedModel has a counter of updates beside the averaged module.
        names = [key for key in table if key != "n_averaged"]
        table = {key.removeprefix(prefix): table[key] for key in names}
        removed += prefix
    return table, removed


def _common_prefix(names: Iterable[str]) -> str | None:
    rest = [name for name in names if name != "n_averaged"]
    return next((p for p in PREFIXES if rest and all(name.startswith(p) for name in rest)), None)
