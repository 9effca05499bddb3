"""The convolutions of a network, with what they saw in one forward pass."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized

from dsft.choices import Order, Reason
from dsft.errors import ModelError
from dsft.measure.example import ExampleInput, batch_size_of, run_example
from dsft.separable import SEPARABLE_CLASSES, swap_channels


@dataclass(frozen=True)
class Site:
    """One convolution and where it stands.

    Attributes:
        name: Its dotted name; the first one where the module stands in several places.
        aliases: All its names, ``name`` included.
        module: The convolution.
        input_shapes: Shape of the input at each call in the forward pass, the batch included.
        input_positions: Positions of the input (height times width) for one image, summed over the calls.
        output_positions: The same of the output.
        obstacle: Why it cannot be converted, or None.
    """

    name: str
    aliases: tuple[str, ...]
    module: _ConvNd
    input_shapes: tuple[tuple[int, ...], ...]
    input_positions: int
    output_positions: int
    obstacle: Reason | None

    @property
    def positions(self) -> int:
        """How often the whole kernel is applied for one image."""
        # A transposed convolution spreads each input position; any other gathers for each output position.
        return self.input_positions if self.module.transposed else self.output_positions

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolution for one image."""
        if isinstance(self.module.weight, UninitializedParameter):
            return 0
        return self.positions * self.module.weight.numel()

    def macs_of_kernel(self, order: Order) -> int:
        """Return the multiply-accumulates that one depthwise kernel costs, its share of the sums included.

        The depthwise convolution is paid where the dense one is. The pointwise one is paid for each position of
        the output with ``dw_pw``, of the input with ``pw_dw``: with a stride above 1 that is far more for a
        convolution, and far less for a transposed one.
        """
        module, groups = self.module, self.module.groups
        if order is Order.DW_PW:
            pointwise = self.output_positions * (module.out_channels // groups)
        else:
            pointwise = self.input_positions * (module.in_channels // groups)
        return self.positions * math.prod(module.kernel_size) + pointwise

    def channels_of(self, order: Order) -> int:
        """Return how many channels have depthwise kernels of their own."""
        return self.module.in_channels if order is Order.DW_PW else self.module.out_channels

    @property
    def dense_kernel(self) -> Tensor:
        """The kernel as ``(out_channels, in_channels / groups, *kernel_size)``, transposed or not."""
        weight = self.module.weight
        return swap_channels(weight, self.module.groups) if self.module.transposed else weight


def find_sites(model: nn.Module, example_input: ExampleInput) -> list[Site]:
    """Find every convolution of a network, in the order of its definition.

    Args:
        model: Any module; it is run once in evaluation mode and left as it was.
        example_input: What it takes; see :func:`dsft.measure.example.run_example`.
    """
    names: dict[_ConvNd, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _ConvNd):
            names.setdefault(module, []).append(name)
    owners = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    # Before the pass, which puts hooks of its own on every convolution.
    obstacles = {module: _structural_obstacle(module, owners) for module in names}
    calls = _record_calls(model, list(names), example_input)
    batch = batch_size_of(example_input)
    return [
        Site(
            name=aliases[0],
            aliases=tuple(aliases),
            module=module,
            input_shapes=tuple(before for before, _ in calls[module]),
            input_positions=sum(_positions(module, before) for before, _ in calls[module]) // batch,
            output_positions=sum(_positions(module, after) for _, after in calls[module]) // batch,
            obstacle=obstacles[module] or (None if calls[module] else Reason.NOT_RUN),
        )
        for module, aliases in names.items()
    ]


def _structural_obstacle(module: _ConvNd, owners: Counter[int]) -> Reason | None:
    """Return what speaks against converting a convolution wherever it stands, or None."""
    # The older weight_norm and spectral_norm put a plain tensor where the parameter was.
    is_computed = is_parametrized(module) or not isinstance(module._parameters.get("weight"), nn.Parameter)
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    checks = {
        Reason.PARAMETRIZED: is_computed,
        Reason.NO_SEPARABLE_LAYER: not isinstance(module, tuple(SEPARABLE_CLASSES)),
        Reason.SUBCLASS: type(module) not in SEPARABLE_CLASSES,
        Reason.ONE_POSITION: math.prod(module.kernel_size) == 1,
        Reason.DEPTHWISE: module.groups == module.in_channels,
        Reason.SHARED_WEIGHT: owners[id(module._parameters.get("weight"))] > 1,
        Reason.HOOKED: any(hooks),
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def _record_calls(
    model: nn.Module, modules: list[_ConvNd], example_input: ExampleInput
) -> dict[_ConvNd, list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Run the model once and return the input and output shape of each call of each module."""
    calls: dict[_ConvNd, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {module: [] for module in modules}

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, _ConvNd)  # noqa: S101 (it was registered on nothing else)
        if inputs[0].dim() == len(module.kernel_size) + 1:
            raise ModelError(
                f"example_input: images need a batch dimension, found a convolution's input of shape "
                f"{tuple(inputs[0].shape)}. Give example_input.unsqueeze(0)."
            )
        calls[module].append((tuple(inputs[0].shape), tuple(output.shape)))

    handles = [module.register_forward_hook(record) for module in modules]
    try:
        run_example(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _positions(module: _ConvNd, shape: tuple[int, ...]) -> int:
    """Return the positions of an input or an output, over all images of the batch."""
    dimensions = len(module.kernel_size)
    images = math.prod(shape[: -dimensions - 1])
    return images * math.prod(shape[-dimensions:])
