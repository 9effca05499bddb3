"""Each fallback gives the same result as the name that it replaces, which is removed for the test."""

from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv
from torch.nn.utils import parametrizations
from torch.utils import _python_dispatch, _pytree
from torch.utils.flop_counter import FlopCounterMode

from dsft.compat import torch_compile, torch_convolution, torch_modules, torch_operators, torch_storage
from dsft.compat.lookup import lookup
from dsft.compat.torch_dispatch import each_result, is_in_dispatch_mode
from dsft.compat.torch_pytree import tree_leaves, tree_map
from dsft.compat.torch_state_dict import with_metadata
from dsft.compat.torch_weight_norm import is_weight_normed, registered_class
from dsft.compat.torchvision_datasets import list_files
from dsft.measure import peak_memory
from dsft.separable.pointwise import PointwiseConv2d

aten = torch.ops.aten
Pair = namedtuple("Pair", ["first", "second"])


def test_a_name_that_is_missing_is_none() -> None:
    assert lookup("torch", "no_such_name") is None
    assert lookup("torch.no_such_module", "name") is None
    assert lookup("torch", "conv2d") is torch.conv2d


CONVOLUTIONS = [
    *(nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv3d(1, 1, 1), nn.LazyConv2d(1, 1)),
    *(nn.ConvTranspose1d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.ConvTranspose3d(1, 1, 1)),
]


def test_convolutions_and_norms_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = [nn.BatchNorm1d(1), nn.BatchNorm2d(1), nn.BatchNorm3d(1), nn.SyncBatchNorm(1)]
    others = [nn.Linear(1, 1), nn.InstanceNorm2d(1), nn.LayerNorm(1), nn.Unfold(1)]
    monkeypatch.delattr(conv, "_ConvNd")
    monkeypatch.delattr(batchnorm, "_BatchNorm")
    for own, members in (
        (torch_convolution.convolution_class(), CONVOLUTIONS),
        (torch_modules.batch_norm_class(), norms),
    ):
        assert all(isinstance(each, own) for each in members)
        assert not any(isinstance(each, own) for each in others)


class Inherits(nn.Conv2d):
    def extra_repr(self) -> str:
        return "same"


class Doubles(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 (torch's name)
        return 2 * super()._conv_forward(input, weight, bias)  # type: ignore[no-any-return]


@pytest.mark.parametrize("is_removed", [False, True])
def test_an_override_of_what_forward_calls_is_noticed(monkeypatch: pytest.MonkeyPatch, is_removed: bool) -> None:
    if is_removed:
        monkeypatch.setattr(torch_convolution, "_COMPUTE", "_no_such_method")
    assert torch_convolution.computes_alike(nn.Conv2d, nn.Conv2d)
    assert torch_convolution.computes_alike(Inherits, nn.Conv2d)
    assert not torch_convolution.computes_alike(Doubles, nn.Conv2d)


@torch.no_grad()
def test_a_pointwise_convolution_runs_without_the_operator_of_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images = PointwiseConv2d(64, 64, 1), torch.randn(2, 64, 32, 32)
    expected = layer(images)
    monkeypatch.delattr(torch, "mkldnn_convolution")
    torch.testing.assert_close(layer(images), expected)
    assert torch_convolution.onednn_convolution(images, layer.weight, None, (0, 0), (1, 1), (1, 1), 1) is None


TREE = {"a": [1, (2, Pair(3, {"b": 4}))], "c": OrderedDict(d=5), "e": ()}


def test_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves, doubled = tree_leaves(TREE), tree_map(lambda leaf: 2 * leaf, TREE)
    monkeypatch.delattr(_pytree, "tree_leaves")
    monkeypatch.delattr(_pytree, "tree_map")
    assert tree_leaves(TREE) == leaves == [1, 2, 3, 4, 5]
    mapped = tree_map(lambda leaf: 2 * leaf, TREE)
    assert mapped == doubled
    assert type(mapped["a"][1][1]) is Pair
    assert type(mapped["c"]) is OrderedDict


def without_identity(tensor: Tensor) -> SimpleNamespace:
    storage = tensor.untyped_storage()
    plain = SimpleNamespace(device=storage.device, data_ptr=storage.data_ptr)
    return SimpleNamespace(layout=tensor.layout, untyped_storage=lambda: plain)


@pytest.mark.parametrize("is_removed", [False, True])
def test_views_share_a_storage_and_copies_do_not(is_removed: bool) -> None:
    tensor = torch.zeros(4, 4)

    def identity(each: Tensor) -> object:
        own: Any = without_identity(each) if is_removed else each
        return torch_storage.storage_id(own)

    copy, view = tensor.clone(), tensor[1:].T
    assert identity(tensor) == identity(view) != identity(copy)
    assert identity(tensor) is not None
    assert torch_storage.storage_id(tensor.to_sparse()) is None
    # These have no memory, and so no address.
    assert identity(torch.empty(0)) is None or identity(torch.empty(0)) != identity(torch.empty(0))


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_peak_memory_without_dispatch_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = network(), torch.randn(2, 3, 16, 16)
    expected = peak_memory(model, images)
    monkeypatch.delattr(_python_dispatch, "TorchDispatchMode")
    assert peak_memory(model, images) == expected


def test_results_of_operators_are_reported_only_inside() -> None:
    results: list[Any] = []
    with each_result(results.append):
        total = torch.ones(2) + 1
    torch.ones(3)
    assert any(each is total or torch.equal(each, total) for each in results)
    assert all(len(each) == 2 for each in results)


def test_a_dispatch_mode_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_in_dispatch_mode()
    with FlopCounterMode(display=False):
        assert is_in_dispatch_mode()
    monkeypatch.delattr(_python_dispatch, "is_in_torch_dispatch_mode")
    # Unknown: then torch's own path is taken, which is right in every mode.
    assert is_in_dispatch_mode()


def nothing(*_: Any) -> None:
    """Do nothing, as a hook."""


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
    ],
)
def test_hooks_of_every_kind_are_listed_once(register: str) -> None:
    module = nn.Conv2d(1, 1, 1)
    assert torch_modules.hooks_of(module) == []
    options = {"with_kwargs": True} if register.startswith("register_forward") else {}
    handle = getattr(module, register)(nothing, **options)
    assert len(torch_modules.hooks_of(module)) == 1
    handle.remove()
    assert torch_modules.hooks_of(module) == []


@pytest.fixture(params=[False, True])
def weight_norm_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The class of the parametrization, or one of another name in its place."""
    if request.param:
        monkeypatch.setattr(parametrizations, "_WeightNorm", type("Renamed", (parametrizations._WeightNorm,), {}))
    registered_class.cache_clear()
    yield
    registered_class.cache_clear()


@pytest.mark.usefixtures("weight_norm_class")
def test_weight_normalisation_is_recognised() -> None:
    before = torch.get_rng_state()
    plain, spectral = nn.Conv2d(2, 2, 1), parametrizations.spectral_norm(nn.Conv2d(2, 2, 1))
    with pytest.warns(FutureWarning, match="weight_norm"):
        older = nn.utils.weight_norm(nn.Conv2d(2, 2, 1))
    normed = parametrizations.weight_norm(nn.Conv2d(2, 2, 1))
    torch.set_rng_state(before)
    assert [is_weight_normed(each) for each in (older, normed, plain, spectral)] == [True, True, False, False]
    assert torch.equal(torch.get_rng_state(), before), "the question draws no random numbers"


def test_a_compiled_module_is_unwrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = network()
    compiled: Any = torch.compile(inner)
    for name in ("_orig_mod", "_no_such_child"):
        monkeypatch.setattr(torch_compile, "_CHILD", name)
        assert torch_compile.is_compiled(compiled)
        assert torch_compile.without_compilation(compiled) is inner
        assert not torch_compile.is_compiled(inner)
    assert not torch_compile.is_compiled_in_place(inner)
    inner.compile()
    assert torch_compile.is_compiled_in_place(inner)
    monkeypatch.setattr(torch_compile, "_IN_PLACE", "_no_such_attribute")
    assert not torch_compile.is_compiled_in_place(inner)


def test_compiler_errors_are_told_from_others() -> None:
    from torch._dynamo.exc import TorchDynamoException  # takes seconds

    assert torch_compile.is_compiler_error(TorchDynamoException())
    linalg: Any = torch.linalg
    for error in (RuntimeError(), torch.OutOfMemoryError(), linalg.LinAlgError()):
        assert not torch_compile.is_compiler_error(error)


def test_operators_that_write_are_told_from_others() -> None:
    operators = [aten.add_.Tensor, aten.add.out, aten.relu_.default, aten.add.Tensor, aten.relu.default]
    assert all(isinstance(each, torch_operators.OPERATOR) for each in operators)
    assert not isinstance(torch.add, torch_operators.OPERATOR)
    for each in operators:
        without_schema = SimpleNamespace(name=each.name)
        assert torch_operators.is_mutable(each) == torch_operators.is_mutable(without_schema)
    assert [torch_operators.is_mutable(each) for each in operators] == [True, True, True, False, False]


def test_a_state_dict_keeps_its_format_versions_or_gets_those_of_the_module() -> None:
    module = nn.BatchNorm2d(2)
    own: Any = module.state_dict()
    own._metadata["version-of-the-file"] = 1
    full: Any = with_metadata(own, module)
    assert "version-of-the-file" in full._metadata
    added: Any = with_metadata(dict(module.state_dict()), module)
    assert added._metadata[""]["version"] == 2
    assert list(added) == list(own)


class Listing:
    """A data set of torchvision as far as it is read."""

    def __init__(self, **lists: Any) -> None:
        vars(self).update(lists)

    def __len__(self) -> int:
        return 2


def test_files_and_classes_are_found_under_names_and_by_their_content(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.touch()
    targets, pairs, classes = [1, 0], list(zip(files, [1, 0], strict=True)), ["cat", "dog"]
    for lists in (
        {"classes": classes, "_image_files": files, "_labels": targets},
        {"classes": classes, "_images": files, "_labels": targets},
        {"classes": classes, "_samples": pairs},
        {"classes": classes, "_renamed": files, "_also_renamed": targets, "_more": [(2, 3), (4, 5)]},
        {"classes": classes, "_renamed": pairs},
    ):
        assert list_files(Listing(**lists)) == (files, targets)
    with pytest.raises(AttributeError, match="Listing has no list of files and classes"):
        list_files(Listing(classes=classes))
