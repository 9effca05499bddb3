from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsft.artifact.hub import HubReference
from tests.hub import TOKEN, Hub, open_hub
from tests.test_cli import process
from tests.workshop import Workshop, dsft


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with open_hub() as opened:
        yield opened


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    return Run({"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache")})


class Run:
    """The command line in a process of its own, since the hub's client reads its settings when it is loaded."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN, **environment}

    def __call__(self, *arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
        done = process(*map(str, arguments), **{**self.environment, **changes})  # type: ignore[arg-type]  # none is called cwd
        assert TOKEN not in done.stdout + done.stderr
        return done


def test_a_pushed_model_folder_loads_from_the_hub(workshop: Workshop, hub: Hub, run: Run) -> None:
    done = run("models", "push", workshop.separable, "me/small", "--private", "--message", "First")
    assert done.returncode == 0, done.stderr
    assert f"{hub.address}/me/small/commit/" in done.stdout
    files, folder = hub.repositories["me/small"], workshop.separable / "model"
    assert set(files) == {"model.safetensors", "manifest.json", "README.md", "config.json"}
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    local, published = json.loads((folder / "manifest.json").read_bytes()), json.loads(files["manifest.json"])
    assert local["data"]["root"] == workshop.pictures.as_posix()
    local["data"]["root"] = None
    assert published == local
    for content in files.values():
        assert str(workshop.pictures.parent).encode() not in content
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: dsft\npipeline_tag: image-classification\n")
    assert card.endswith((folder / "README.md").read_text(encoding="utf-8"))
    assert (hub.messages, hub.private) == (["First"], {"me/small"})

    picture = workshop.pictures / "ant" / "000.png"
    here = dsft("predict", folder, picture, "--format", "csv")
    there = run("predict", "hf/me/small", picture, "--format", "csv")
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout


@pytest.mark.slow  # three processes
def test_a_folder_from_the_hub_needs_data_to_be_scored_and_no_hub_once_it_is_fetched(
    workshop: Workshop, hub: Hub, run: Run
) -> None:
    assert run("models", "push", workshop.separable, "me/small").returncode == 0
    asked = run("evaluate", "hf/me/small")
    assert asked.returncode == 2
    assert (
        "does not say where its data is, as in folders that were published. Give the data with --data" in asked.stderr
    )
    again = run("models", "show", "hf/me/small", "--json", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["manifest"] == json.loads(hub.repositories["me/small"]["manifest.json"])


@pytest.mark.slow
def test_missing_write_permission_is_explained(workshop: Workshop, run: Run) -> None:
    done = run("models", "push", workshop.dense, "me/other", HF_TOKEN=TOKEN.replace("secret", "wrong"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "repository 'me/other': the hub refused (401" in done.stderr
    assert "Log in with hf auth login, or set HF_TOKEN" in done.stderr
    assert "hf_wrong" not in done.stderr


@pytest.mark.slow  # eight processes
def test_a_missing_repository_or_file_is_reported(hub: Hub, run: Run) -> None:
    hub.repositories["me/text"] = {"README.md": b"no model"}
    done = run("inspect", "hf/me/text")
    assert done.returncode == 2
    assert "model hf/me/text: the repository holds no model folder of dsft" in done.stderr
    done = run("inspect", "hf/me/nothere")
    assert done.returncode == 2
    assert "model hf/me/nothere: the hub has no such repository, or it is private" in done.stderr


@pytest.mark.slow
def test_without_a_network_the_error_says_what_to_do(run: Run) -> None:
    done = run("inspect", "hf/me/never", HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "model hf/me/never: is not on this machine, and the hub could not be reached" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf/me/small", HubReference("me/small")),
        ("hf\\me\\small", HubReference("me/small")),
        ("hf/me/small@v1.0", HubReference("me/small", "v1.0")),
        ("hf/small", None),
        ("runs/me/small", None),
        ("hf/me/small/model", None),
    ],
)
def test_references(text: str, expected: HubReference | None) -> None:
    assert HubReference.parse(text) == expected
