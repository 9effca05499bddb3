"""The convolutions of a network, with the shapes of one forward pass and whether they can be converted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from dsft.choices import Reason, Structure
from dsft.compat.torch_convolution import Convolution
from dsft.compat.torch_modules import hooks_of
from dsft.compat.torch_pytree import tree_leaves
from dsft.compat.torch_weight_norm import is_weight_normed
from dsft.conversion.discovery.dense_kernel import dense_kernel, has_more, kind_of
from dsft.conversion.discovery.forward_trace import ForwardTrace, trace_forward
from dsft.conversion.request import SEPARABLE
from dsft.measure.example import ExampleInput, batch_size_of
from dsft.separable import LOW_RANK_CLASSES, SEPARABLE_CLASSES

POINTWISE_STRUCTURES = frozenset({Structure.LOW_RANK})
"""The structures for 1x1 kernels; all others are for larger ones."""


@dataclass(frozen=True)
class Site:
    """One convolution of a network.

    Attributes:
        name: Its dotted name; the first one where the module has several.
        aliases: All its names, ``name`` included.
        module: The convolution.
        input_shapes: Shape of the input at each call in the forward pass, with the batch.
        input_positions: Spatial positions of the input (height times width) for one image, summed over the calls.
        output_positions: The same of the output.
        obstacle: Why it cannot be converted; None where it can.
    """

    name: str
    aliases: tuple[str, ...]
    module: Convolution
    input_shapes: tuple[tuple[int, ...], ...]
    input_positions: int
    output_positions: int
    obstacle: Reason | None

    @property
    def positions(self) -> int:
        """Number of applications of the whole kernel for one image."""
        # A transposed convolution applies it once per input position, any other once per output position.
        return self.input_positions if self.module.transposed else self.output_positions

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernel is 1x1."""
        return _is_pointwise(self.module)

    def fits(self, structure: Structure) -> bool:
        """Whether a structure is made for such a kernel: some are for 1x1 kernels, the others for larger ones."""
        return (structure in POINTWISE_STRUCTURES) == self.is_pointwise

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolution for one image."""
        return self.positions * self.module.weight.numel()

    @property
    def params(self) -> int:
        """Parameters of the kernel, or that it is computed from; without the bias."""
        return sum(value.numel() for name, value in self.module.named_parameters() if name != "bias")

    @property
    def dense_kernel(self) -> Tensor:
        """The kernel, ``(out_channels, in_channels / groups, *kernel_size)``, also of a transposed convolution."""
        return dense_kernel(self.module)


def find_sites(
    model: nn.Module, example_input: ExampleInput, structures: Collection[Structure] = SEPARABLE
) -> list[Site]:
    """Find every convolution of a network, in the order of its definition.

    Args:
        model: Any module; it is run once in evaluation mode and not changed.
        example_input: Its input; see :func:`dsft.measure.example.run_example`.
        structures: The allowed structures.
    """
    names: dict[Convolution, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Convolution):
            names.setdefault(module, []).append(name)
    owners = Counter(id(parameter) for module in model.modules() for parameter in _own_parameters(module).values())
    referenced = _referenced_outside_tree(model)
    # Before the forward pass, which registers hooks on every convolution.
    obstacles = {module: _structural_obstacle(module, structures, owners, referenced) for module in names}
    trace = trace_forward(model, list(names), example_input)
    batch = batch_size_of(example_input)
    return [
        Site(
            name=aliases[0],
            aliases=tuple(aliases),
            module=module,
            input_shapes=tuple(before for before, _ in trace.calls[module]),
            # Rounded up: a layer may run once for the whole batch, as on a table of positions.
            input_positions=math.ceil(sum(_positions(module, before) for before, _ in trace.calls[module]) / batch),
            output_positions=math.ceil(sum(_positions(module, after) for _, after in trace.calls[module]) / batch),
            obstacle=obstacles[module] or _traced_obstacle(module, trace),
        )
        for module, aliases in names.items()
    ]


def _structural_obstacle(
    module: Convolution, structures: Collection[Structure], owners: Counter[int], referenced: Collection[int]
) -> Reason | None:
    """Return why a convolution cannot be converted whatever the network does with it, or None."""
    # The older weight_norm and spectral_norm replace the parameter by a plain tensor.
    is_computed = is_parametrized(module) or "weight" not in _own_parameters(module)
    kernel = [parameter for name, parameter in module.named_parameters() if name != "bias"]
    is_pointwise, allowed = _is_pointwise(module), set(structures)
    has_pointwise = bool(allowed & POINTWISE_STRUCTURES)
    known = LOW_RANK_CLASSES if is_pointwise and has_pointwise else SEPARABLE_CLASSES
    checks = {
        Reason.COMPUTED_WEIGHT: is_computed and not is_weight_normed(module),
        Reason.UNSUPPORTED_WEIGHT: not all(map(_is_plain, module.parameters())),
        Reason.UNSUPPORTED_CONVOLUTION: not isinstance(module, tuple(known)),
        Reason.CUSTOM_CLASS: kind_of(module) is None or has_more(module),
        Reason.EMPTY: not all(parameter.numel() for parameter in module.parameters()),
        Reason.POINTWISE: is_pointwise and not has_pointwise,
        Reason.NO_ALLOWED_STRUCTURE: not is_pointwise and not allowed - POINTWISE_STRUCTURES,
        Reason.SINGLE_CHANNEL: module.in_channels == 1,
        Reason.DEPTHWISE: module.groups == module.in_channels,
        Reason.SHARED_WEIGHT: any(owners[id(parameter)] > 1 for parameter in kernel),
        Reason.OUTSIDE_MODULE_TREE: id(module) in referenced,
        Reason.HAS_HOOKS: _has_hooks(module),
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def _is_pointwise(module: Convolution) -> bool:
    return math.prod(module.kernel_size) == 1


def _is_plain(parameter: nn.Parameter) -> bool:
    # Tensor subclasses may be shards, such as those of FSDP, or hold quantized numbers.
    return type(parameter.data) is Tensor and parameter.is_floating_point()


def _traced_obstacle(module: Convolution, trace: ForwardTrace) -> Reason | None:
    if module in trace.read_outside:
        return Reason.WEIGHT_READ_OUTSIDE
    return None if trace.calls[module] else Reason.NOT_RUN


def _has_hooks(module: Convolution) -> bool:
    # Weight normalization has one: the older form a pre-forward hook, the newer one a hook for loading state dicts.
    return len(hooks_of(module)) > is_weight_normed(module)


def _own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    return dict(module.named_parameters(recurse=False, remove_duplicate=False))


def _referenced_outside_tree(model: nn.Module) -> set[int]:
    """Return the ids of convolutions in plain attributes, such as lists, which keep the old module."""
    own = vars(nn.Module()).keys()
    values = [value for module in model.modules() for key, value in vars(module).items() if key not in own]
    return {id(leaf) for leaf in tree_leaves(values) if isinstance(leaf, Convolution)}


def _positions(module: Convolution, shape: tuple[int, ...]) -> int:
    """Return the spatial positions of an input or an output, summed over the images of the batch."""
    dimensions = len(module.kernel_size)
    images = math.prod(shape[: -dimensions - 1])
    return images * math.prod(shape[-dimensions:])
