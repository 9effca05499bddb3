"""The convolutions of a network, with what they saw in one forward pass."""

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
from dsft.conversion.discovery.forward_trace import Observed, observe
from dsft.conversion.request import SEPARABLE
from dsft.measure.example import ExampleInput, batch_size_of
from dsft.separable import LOW_RANK_CLASSES, SEPARABLE_CLASSES


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
    module: Convolution
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
    def is_point(self) -> bool:
        """Whether the kernel has one position, so that low rank is all that it can become."""
        return math.prod(self.module.kernel_size) == 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolution for one image."""
        return self.positions * self.module.weight.numel()

    @property
    def params(self) -> int:
        """Parameters that the kernel is, or is computed from; the bias is not among them."""
        return sum(value.numel() for name, value in self.module.named_parameters() if name != "bias")

    def macs_of_kernel(self, order: Structure) -> int:
        """Return the multiply-accumulates that one depthwise kernel costs, its share of the sums included.

        The depthwise convolution is paid where the dense one is. The pointwise one is paid for each position of
        the output with ``dw_pw``, of the input with ``pw_dw``: with a stride above 1 that is far more for a
        convolution, and far less for a transposed one.
        """
        module, groups = self.module, self.module.groups
        if order is Structure.DW_PW:
            pointwise = self.output_positions * (module.out_channels // groups)
        else:
            pointwise = self.input_positions * (module.in_channels // groups)
        return self.positions * math.prod(module.kernel_size) + pointwise

    def params_of_kernel(self, order: Structure) -> int:
        """Return the parameters that one depthwise kernel has, its weights in the sums included."""
        ends = self.module.out_channels if order is Structure.DW_PW else self.module.in_channels
        return math.prod(self.module.kernel_size) + ends // self.module.groups

    def channels_of(self, order: Structure) -> int:
        """Return how many channels have depthwise kernels of their own."""
        return self.module.in_channels if order is Structure.DW_PW else self.module.out_channels

    @property
    def dense_kernel(self) -> Tensor:
        """The kernel as ``(out_channels, in_channels / groups, *kernel_size)``, transposed or not."""
        return dense_kernel(self.module)


def find_sites(
    model: nn.Module, example_input: ExampleInput, structures: Collection[Structure] = SEPARABLE
) -> list[Site]:
    """Find every convolution of a network, in the order of its definition.

    Args:
        model: Any module; it is run once in evaluation mode and left as it was.
        example_input: What it takes; see :func:`dsft.measure.example.run_example`.
        structures: What a convolution may become.
    """
    names: dict[Convolution, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Convolution):
            names.setdefault(module, []).append(name)
    owners = Counter(id(parameter) for module in model.modules() for parameter in _own_parameters(module).values())
    held = _held_by_attributes(model)
    # Before the pass, which puts hooks of its own on every convolution.
    obstacles = {module: _structural_obstacle(module, structures, owners, held) for module in names}
    observed = observe(model, list(names), example_input)
    batch = batch_size_of(example_input)
    return [
        Site(
            name=aliases[0],
            aliases=tuple(aliases),
            module=module,
            input_shapes=tuple(before for before, _ in observed.calls[module]),
            input_positions=sum(_positions(module, before) for before, _ in observed.calls[module]) // batch,
            output_positions=sum(_positions(module, after) for _, after in observed.calls[module]) // batch,
            obstacle=obstacles[module] or _observed_obstacle(module, observed),
        )
        for module, aliases in names.items()
    ]


def _structural_obstacle(
    module: Convolution, structures: Collection[Structure], owners: Counter[int], held: Collection[int]
) -> Reason | None:
    """Return what speaks against converting a convolution wherever it stands, or None."""
    # The older weight_norm and spectral_norm put a plain tensor where the parameter was.
    is_computed = is_parametrized(module) or "weight" not in _own_parameters(module)
    kernel = [parameter for name, parameter in module.named_parameters() if name != "bias"]
    is_point, has_low_rank = math.prod(module.kernel_size) == 1, Structure.LOW_RANK in structures
    known = LOW_RANK_CLASSES if is_point and has_low_rank else SEPARABLE_CLASSES
    checks = {
        Reason.COMPUTED_WEIGHT: is_computed and not is_weight_normed(module),
        Reason.UNSUPPORTED_WEIGHT: not all(map(_is_plain, module.parameters())),
        Reason.UNSUPPORTED_CONVOLUTION: not isinstance(module, tuple(known)),
        Reason.CUSTOM_CLASS: kind_of(module) is None or has_more(module),
        Reason.EMPTY: not all(parameter.numel() for parameter in module.parameters()),
        Reason.POINTWISE: is_point and not has_low_rank,
        Reason.NO_ALLOWED_STRUCTURE: not is_point and not set(SEPARABLE) & set(structures),
        Reason.DEPTHWISE: module.groups == module.in_channels,
        Reason.SHARED_WEIGHT: any(owners[id(parameter)] > 1 for parameter in kernel),
        Reason.OUTSIDE_MODULE_TREE: id(module) in held,
        Reason.HAS_HOOKS: _has_hooks(module),
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def _is_plain(parameter: nn.Parameter) -> bool:
    # Tensors of other classes may be pieces of one, such as those of FSDP, or stand for quantised numbers.
    return type(parameter.data) is Tensor and parameter.is_floating_point()


def _observed_obstacle(module: Convolution, observed: Observed) -> Reason | None:
    if module in observed.read_outside:
        return Reason.WEIGHT_READ_OUTSIDE
    return None if observed.calls[module] else Reason.NOT_RUN


def _has_hooks(module: Convolution) -> bool:
    # Weight normalisation has one itself: the older form before each pass, the newer one to load files.
    return len(hooks_of(module)) > is_weight_normed(module)


def _own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    return dict(module.named_parameters(recurse=False, remove_duplicate=False))


def _held_by_attributes(model: nn.Module) -> set[int]:
    """Return the ids of convolutions in plain attributes, such as lists, where no exchange would reach them."""
    own = vars(nn.Module()).keys()
    values = [value for module in model.modules() for key, value in vars(module).items() if key not in own]
    return {id(leaf) for leaf in tree_leaves(values) if isinstance(leaf, Convolution)}


def _positions(module: Convolution, shape: tuple[int, ...]) -> int:
    """Return the positions of an input or an output, over all images of the batch."""
    dimensions = len(module.kernel_size)
    images = math.prod(shape[: -dimensions - 1])
    return images * math.prod(shape[-dimensions:])
