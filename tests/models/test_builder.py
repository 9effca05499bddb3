from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dsft.errors import ModelError
from dsft.models import Builder

NET = """\
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.LazyLinear(2))
"""


def build(folder: Path, code: str, function: str = "make") -> nn.Module:
    (folder / "net.py").write_text(code, encoding="utf-8")
    return Builder.parse(f"{folder / 'net.py'}:{function}").build()


def test_the_function_of_a_file_builds_a_network(tmp_path: Path) -> None:
    network = build(tmp_path, NET)
    assert isinstance(network[0], nn.Conv2d)  # type: ignore[index]
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 2)
    assert str(tmp_path) not in sys.path


def test_a_class_without_required_arguments_is_such_a_function(tmp_path: Path) -> None:
    code = "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, width=4):\n        super().__init__()\n"
    assert type(build(tmp_path, code, "Net")).__name__ == "Net"


def test_its_name_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    assert str(Builder.parse(f"{tmp_path}/net.py:make")) == "net.py:make"


def test_a_relative_path_starts_in_the_working_directory_and_a_tilde_at_home(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "net.py").write_text(NET, encoding="utf-8")
    monkeypatch.setenv("HOME", str(here))
    for text in ("net.py:make", "~/net.py:make"):
        assert isinstance(Builder.parse(text).build(), nn.Sequential)


@pytest.mark.parametrize(
    "text", ["net.py", "net:make", "net.py:", ":make", "net.py:a.b", "mynet.zoo:Net", "net.py:f()"]
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"builder .*: expected FILE:FUNCTION, .* such as net\.py:make"):
        Builder.parse(text)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothere\.py': a Python file is needed, there is no such file"):
        Builder.parse(f"{tmp_path}/nothere.py:make").build()
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ModelError, match="a Python file is needed, it is a folder"):
        Builder.parse(f"{tmp_path}/folder.py:make").build()


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("def make(:\n", "SyntaxError: invalid syntax"),
        ("import nothere_at_all\n", "ModuleNotFoundError: No module named 'nothere_at_all'"),
        ("def inner():\n    return 1 / 0\n\ninner()\n", "ZeroDivisionError: division by zero"),
        ("def make():\n    raise KeyError('width')\n", "KeyError: 'width'"),
    ],
)
def test_an_error_of_the_users_code_comes_with_its_own_traceback(tmp_path: Path, code: str, last: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(tmp_path, code)
    message = str(caught.value)
    assert message.splitlines()[-1] == last
    assert f'File "{tmp_path / "net.py"}", line' in message
    # Nothing of dsft's or of Python's own machinery.
    assert "dsft/models" not in message
    assert "importlib" not in message


def test_a_script_that_ends_the_program_says_what_to_do(tmp_path: Path) -> None:
    code = "import sys\nsys.exit(3)\n"
    with pytest.raises(ModelError, match=r"importing it failed: it ended the program\. .* __name__ == '__main__'"):
        build(tmp_path, code)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def maker(): ...", r"found no such function\. Did you mean maker\?"),
        ("make = 3", "a function of that name is needed, found make = 3"),
        ("from torch import nn\nmake = nn.Linear(1, 1)", r"found the network itself\. Write def make\(\)"),
        (
            "def make(width, *, depth, heads=2): ...",
            r"found make\(width, \*, depth, heads=2\), which needs width, depth\. Give them defaults",
        ),
        ("def make(): ...", r"must return a torch\.nn\.Module, found NoneType\. Add a return statement"),
        ("def make(): return {}", r"must return a torch\.nn\.Module, found dict\."),
        (
            "from torch import nn\ndef make(): return nn.Flatten",
            r"found the class Flatten\. Return Flatten\(\) instead",
        ),
        (
            "from torch import nn\ndef make(): return nn.Linear(2, 2, device='meta')",
            "found tensors on the meta device",
        ),
    ],
)
def test_what_is_no_builder_is_refused(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(tmp_path, code)


def test_the_modules_beside_the_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "parts_beside_it.py").write_text("from torch import nn\nhead = nn.Linear\n", encoding="utf-8")
    network = build(tmp_path, "import parts_beside_it\ndef make(): return parts_beside_it.head(3, 2)")
    assert isinstance(network, nn.Linear)


def test_relative_imports_work_in_a_package(tmp_path: Path) -> None:
    package = tmp_path / "own_package" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package.parent / "parts.py").write_text("WIDTH = 7\n", encoding="utf-8")
    network = build(package, "from torch import nn\nfrom ..parts import WIDTH\ndef make(): return nn.Linear(1, WIDTH)")
    assert network.out_features == 7


def test_elsewhere_they_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"relative imports need a package, that is an __init__\.py"):
        build(tmp_path, "from .parts import WIDTH\n")


def test_two_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    for width in (2, 3):
        folder = tmp_path / str(width)
        folder.mkdir()
        assert build(folder, f"from torch import nn\ndef make(): return nn.Linear(1, {width})").out_features == width
