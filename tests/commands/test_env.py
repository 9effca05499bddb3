from __future__ import annotations

import json
import platform

import pytest
import torch

from dsft.choices import Runtime
from dsft.runtimes import why_unusable
from tests.workshop import dsft


def test_env_reports_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    found = json.loads(dsft("env", "--json").stdout)
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["versions"]["onnx"]
    assert found["cpu"]["torch_threads"] == torch.get_num_threads()
    assert 1 <= found["cpu"]["cores_allowed"] <= found["cpu"]["cores"]
    assert found["accelerators"] == []
    assert found["runtimes"] == {str(runtime): why_unusable(runtime) for runtime in Runtime}
    assert found["runtimes"]["eager"] is None
    shown = dsft("env").stdout
    assert "accelerators" in shown
    assert found["cpu"]["name"] in shown
    assert "hf_secret" not in shown + json.dumps(found)
