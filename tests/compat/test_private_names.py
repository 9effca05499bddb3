"""No private name of another library is used outside ``dsft/compat``."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dsft"
PRIVATE = re.compile(r"_[A-Za-z]\w*")
# Documented: a method of named tuples, and a function of the standard library.
DOCUMENTED = {"_asdict", "_replace", "_fields", "_exit"}
LIBRARIES = {"torch", "torchvision", "timm", "typer", "click", "rich", "pydantic", "huggingface_hub", "safetensors"}


def private_names(tree: ast.Module) -> Iterator[str]:
    """Yield the private names in a module that the module itself does not define.

    A name counts as private if it begins with one underscore. It is found in an attribute that is read or written, in
    an import of a library, and in a string that is an identifier, as ``getattr`` takes it; the parts of an f-string are
    no names.
    """
    own = set(defined_names(tree))
    parts_of_strings = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            module = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            parts = ".".join([*module, *(alias.name for alias in node.names)]).split(".")
            found = parts if parts[0] in LIBRARIES else []
        elif isinstance(node, ast.Attribute):
            found = [node.attr]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts_of_strings:
            found = node.value.split(".")
        else:
            continue
        yield from (name for name in found if PRIVATE.fullmatch(name) and name not in own | DOCUMENTED)


def defined_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        # Only what is set on the object itself: anything else would change another library's object.
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def defined_in_package() -> set[str]:
    """Return the private methods and attributes of dsft's own classes, which a derived class in another file uses."""
    return {name for path in PACKAGE.rglob("*.py") for name in defined_names(ast.parse(path.read_text()))}


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "compat" not in path.parents]
# The end of the names of some metrics, and of the files of Cityscapes.
OWN_STRINGS = {"_interval", "_leftImg8bit", "_gtFine_labelTrainIds"}


def test_private_names_of_other_libraries_are_in_compat_alone() -> None:
    own = defined_in_package() | OWN_STRINGS
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in FILES
        for name in private_names(ast.parse(path.read_text()))
        if name not in own
    }
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "from torch.nn.modules.conv import _ConvNd",
        "from torch._ops import OpOverload",
        "import torch.utils._pytree",
        "module._forward_hooks",
        "torch._C.DisableTorchFunctionSubclass()",
        "getattr(module, '_orig_mod')",
        "model.get_submodule('features._orig_mod')",
        "other._stop = 1",
    ],
)
def test_the_check_finds_them(code: str) -> None:
    assert list(private_names(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    def _run(self): self._x = 1; return self._x",
        "from dsft.own import _private",
        "point._replace(x=1)",
        "a.__dict__",
        "import os; os._exit(0)",
    ],
)
def test_the_check_lets_own_names_be(code: str) -> None:
    assert not list(private_names(ast.parse(code)))
