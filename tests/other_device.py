"""A device that torch takes for an accelerator and that computes on the CPU, for machines without one.

Its tensors have no memory that the CPU may read, no float64, and cannot be mixed with tensors of the CPU, as on MPS.
Registered for the whole process, so it is run as a script:

    python tests/other_device.py STRUCTURE,STRUCTURE...

converts a small network there and on the CPU for each argument, and fails unless both give the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import dsft
from dsft.conversion.discovery import sites
from tests.zoo import Residual, redraw

NAME = "other"
ACROSS = {
    torch.ops.aten.copy_.default,
    torch.ops.aten._to_copy.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten._index_put_impl_.default,
    torch.ops.aten.index_put_.default,
}
"""What takes tensors of two devices: copies, and indices."""


class OtherTensor(Tensor):
    """A tensor on the device, around one on the CPU that holds its values."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[OtherTensor], values: Tensor) -> OtherTensor:
        """Refuse float64."""
        if values.dtype is torch.float64:
            raise TypeError("the device has no float64")
        tensor: OtherTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        tensor.held = values
        return tensor

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute on the CPU."""
        return run_there(func, args, kwargs or {})

    # torch has these for no subclass, and for tensors of an accelerator.
    def tolist(self) -> Any:
        """Return the values."""
        return self.held.tolist()

    def as_subclass(self, cls: type[Any]) -> Any:
        """Return the tensor, which has its own class."""
        del cls
        return self


def run_there(operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an operator on the CPU, and return tensors of the device if it has to run there."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    is_there = any(isinstance(tensor, OtherTensor) for tensor in tensors)
    is_mixed = is_there and any(tensor.dim() and not isinstance(tensor, OtherTensor) for tensor in tensors)
    if is_mixed and operator not in ACROSS:
        raise RuntimeError(f"{operator}: found tensors on two devices")
    device = kwargs.get("device")
    if device is not None:
        is_there = torch.device(device).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu")}
    given = {id(values_of(tensor)): tensor for tensor in tensors}
    results = operator(*tree_map(values_of, args), **tree_map(values_of, kwargs))

    def place(result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        return given.get(id(result)) if id(result) in given else OtherTensor(result) if is_there else result

    return tree_map(place, results)


def values_of(leaf: Any) -> Any:
    """Return the tensor on the CPU that holds the values, or what is no tensor of the device."""
    return leaf.held if isinstance(leaf, OtherTensor) else leaf


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees also what is computed on the CPU, which may be moved to the device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return run_there(func, args, kwargs or {})


@contextmanager
def other_device() -> Iterator[torch.device]:
    """Register the device, for good, and use it."""
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=module)
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    with (
        patch.object(torch, "tensor", _moving(torch.tensor)),
        patch.object(torch.accelerator, "synchronize"),
        # Other subclasses of tensors cannot be converted.
        patch.object(sites, "_is_plain", lambda _: True),
        _Mode(),  # type: ignore[no-untyped-call]
    ):
        yield torch.device(NAME, 0)


def _empty_strided(size: Any, stride: Any, dtype: torch.dtype | None = None, **_: Any) -> OtherTensor:
    return OtherTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    values_of(target).copy_(values_of(source), non_blocking)
    return target


def _moving(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return ``torch.tensor``, whose own way to a device no mode sees."""

    def tensor(data: Any, device: Any = None, **options: Any) -> Tensor:
        made = make(data, **options)
        return made if device is None else made.to(device)

    return tensor


def convert(structures: Sequence[str], device: torch.device) -> Tensor:
    """Return the output of a network that was converted on a device, with all that uses calibration data."""
    torch.manual_seed(0)
    model, images = redraw(Residual()).eval().to(device), torch.randn(32, 3, 16, 16).to(device)
    conversion = dsft.convert(
        model,
        example_input=images[:2],
        calibration=[images[:16], images[16:]],
        budget={"macs": 0.5},
        structures=structures,
        recover=5,
    )
    with torch.no_grad():
        output: Tensor = conversion.model(images[:2]).cpu()
    return output


if __name__ == "__main__":
    # Registered first: autograd starts a thread for each device that there is at the first backward pass.
    with other_device() as other:
        for structures in sys.argv[1:]:
            found, expected = (convert(structures.split(","), device) for device in (other, torch.device("cpu")))
            torch.testing.assert_close(found, expected)
