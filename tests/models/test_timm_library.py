from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from timm.data.config import resolve_data_config
from torch import nn

from dsft.choices import ModelSource
from dsft.errors import CheckpointError, ModelError
from dsft.models import load_model
from dsft.models.timm_library import preprocessing
from tests.zoo import redraw

NAME = "test_resnet"
REPOSITORY = "timm/test_resnet.r160_in1k"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Put a network's weights where the hub's client keeps what it downloaded."""
    network: nn.Module = redraw(timm.create_model(NAME))
    folder = tmp_path / f"models--{REPOSITORY.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    safetensors.torch.save_file(network.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return network


def test_loads_what_was_downloaded_before(cached: nn.Module) -> None:
    loaded = load_model(ModelSource.TIMM, NAME, pretrained=True)
    state = loaded.module.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in cached.state_dict().items())
    assert (loaded.spec.name, loaded.spec.num_classes) == ("test_resnet.r160_in1k", 1000)
    assert loaded.notes == ("Pretrained weights of timm/test_resnet.r160_in1k.",)
    # The first and last folders of ImageNet.
    assert loaded.classes is not None
    assert (loaded.classes[0], loaded.classes[-1], len(loaded.classes)) == ("n01440764", "n15075141", 1000)


@pytest.mark.parametrize("in_chans", [1, 4])
def test_adapts_the_first_layer_as_timm_does(cached: nn.Module, tmp_path: Path, in_chans: int) -> None:
    safetensors.torch.save_file(cached.state_dict(), tmp_path / "w.safetensors")
    of_timm = timm.create_model(
        NAME,
        pretrained=True,
        in_chans=in_chans,
        pretrained_cfg_overlay={"file": str(tmp_path / "w.safetensors")},
    )
    state = load_model(ModelSource.TIMM, NAME, pretrained=True, in_chans=in_chans).module.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in of_timm.state_dict().items())


def test_gives_pretrained_weights_another_head(cached: nn.Module) -> None:
    loaded = load_model(ModelSource.TIMM, NAME, pretrained=True, num_classes=5)
    assert (loaded.spec.num_classes, loaded.classes) == (5, None)
    trunk = [key for key in cached.state_dict() if not key.startswith("fc.")]
    state = loaded.module.state_dict()
    assert all(torch.equal(state[key], cached.state_dict()[key]) for key in trunk)


@pytest.mark.usefixtures("cached")
def test_a_damaged_file_in_the_cache_is_named(tmp_path: Path) -> None:
    next(tmp_path.rglob("model.safetensors")).write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=r"model\.safetensors' are damaged .*to download it again"):
        load_model(ModelSource.TIMM, NAME, pretrained=True)


def test_offline_is_an_error_that_names_the_file() -> None:
    started = time.monotonic()
    expected = (
        r"timm/resnet18: .*not on this machine.*download model\.safetensors of timm/resnet18\.a1_in1k .* elsewhere\.$"
    )
    with pytest.raises(ModelError, match=expected):
        load_model(ModelSource.TIMM, "resnet18", pretrained=True)
    assert time.monotonic() - started < 5


def renew_session() -> None:
    """Let the client read its proxy again, which it does when its first session begins."""
    hub: Any = huggingface_hub
    if hasattr(hub, "close_session"):
        hub.close_session()
    else:  # before 1.0
        hub.utils.reset_sessions()


def test_without_a_network_it_gives_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    renew_session()
    started = time.monotonic()
    with pytest.raises(
        ModelError, match=r"timm/resnet18: .*not on this machine.*(ConnectError|ProxyError|ConnectionError)"
    ):
        load_model(ModelSource.TIMM, "resnet18", pretrained=True)
    assert time.monotonic() - started < 10
    renew_session()


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub of one file."""

    content = b""

    def do_HEAD(self) -> None:
        known = self.path == f"/{REPOSITORY}/resolve/main/model.safetensors"
        self.send_response(200 if known else 404)
        self.send_header("ETag", '"1"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(self.content) if known else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


LOADING = """
from dsft.choices import ModelSource
from dsft.models import load_model

load_model(ModelSource.TIMM, "test_resnet", pretrained=True, report=print)
"""


@pytest.mark.slow
def test_a_download_is_reported(tmp_path: Path) -> None:
    Hub.content = safetensors.torch.save(timm.create_model(NAME).state_dict())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # In a process of its own: the hub's client reads its address once.
        place = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        result = subprocess.run(
            [sys.executable, "-c", LOADING],
            env=os.environ | {"HF_HUB_OFFLINE": "0", "no_proxy": "*"} | place,
            capture_output=True,
            text=True,
            check=True,
        )
        server.shutdown()
    expected = f"Note(message='model: downloading model.safetensors of {REPOSITORY} from the Hugging Face hub')\n"
    assert result.stdout == expected


def test_a_network_without_published_weights_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^model timm/dpn48b: timm has no pretrained weights of it"):
        load_model(ModelSource.TIMM, "dpn48b", pretrained=True)


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "resnet18", "efficientnet_b0", "convnext_tiny.fb_in22k"])
def test_preprocessing_is_timms_at_training_size(name: str) -> None:
    config = resolve_data_config(  # type: ignore[no-untyped-call]
        model=timm.create_model(name), use_test_size=False
    )
    found = preprocessing(name)
    assert (found.channels, *found.image_size) == config["input_size"]
    assert (found.mean, found.std) == (config["mean"], config["std"])
    assert (found.interpolation, found.crop_pct, found.crop_mode) == (
        config["interpolation"],
        config["crop_pct"],
        config["crop_mode"],
    )
