"""The video networks of torchvision, and the builtin 3-D network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import get_model, get_model_weights  # type: ignore[attr-defined]

from dsft.choices import ModelSource
from dsft.errors import ModelError
from dsft.models import head_layers, load_model, replace_head
from dsft.preprocessing import ClipPreprocessing
from tests.zoo import redraw


@pytest.mark.parametrize(
    ("name", "head"), [("r3d_18", "fc"), ("mc3_18", "fc"), ("r2plus1d_18", "fc"), ("s3d", "classifier.1")]
)
def test_networks_of_torchvision_have_heads_that_are_replaced(name: str, head: str) -> None:
    with torch.device("meta"):
        loaded = load_model(ModelSource.TORCHVISION, name, num_classes=400)
        other = replace_head(loaded, 5, None)
    assert list(head_layers(loaded.module)) == [head]
    kept = {key: value.shape for key, value in loaded.module.state_dict().items() if not key.startswith(head)}
    found = {key: value.shape for key, value in other.module.state_dict().items()}
    assert {key: found[key] for key in kept} == kept
    assert found[f"{head}.weight"][0] == 5
    assert isinstance(loaded.preprocessing, ClipPreprocessing)
    assert loaded.preprocessing.shape[:1] == (3,)


def test_published_weights_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = redraw(get_model("mc3_18", weights=None)).eval()
    weights = get_model_weights("mc3_18").DEFAULT  # type: ignore[attr-defined]
    path = tmp_path / "hub" / "checkpoints" / Path(weights.url).name
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    loaded = load_model(ModelSource.TORCHVISION, "mc3_18", pretrained=True, in_chans=1)
    clips = torch.randn(1, 1, 4, 32, 32)
    # The weights of the first layer are summed over the colours.
    torch.testing.assert_close(loaded.module.eval()(clips), network(clips.expand(-1, 3, -1, -1, -1)))
    assert loaded.classes == tuple(weights.meta["categories"])
    assert loaded.preprocessing.shape == (1, 16, 112, 112)


def test_video_transformers_are_named_as_such() -> None:
    with pytest.raises(ModelError, match="this is a video transformer"):
        load_model(ModelSource.TORCHVISION, "mvit_v2_s")


def test_the_builtin_network_takes_any_size_and_number_of_channels() -> None:
    loaded = load_model(ModelSource.BUILTIN, "cnn3d_16", in_chans=2, num_classes=3)
    assert loaded.module.eval()(torch.randn(2, 2, 5, 17, 9)).shape == (2, 3)
    assert replace_head(loaded, 7, None).module.eval()(torch.randn(1, 2, 4, 8, 8)).shape == (1, 7)
