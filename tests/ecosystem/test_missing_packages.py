"""What a module says whose package is not installed."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from dsft.errors import ModelError


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_the_error_names_the_command(name: str) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(ModelError, match=rf"dsft\.{name} needs the package {name}, .* pip install 'dsft\[{name}\]'"):
        importlib.import_module(f"dsft.{name}")
