from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dsft.assembly import Verb, prepare_experiment
from dsft.commands.dry_run import try_experiment
from dsft.errors import DataError
from dsft.progress import Event, Note, ignore
from dsft.recipe import load_recipe
from tests.workshop import CLASSES, Workshop, write_pictures


def test_one_batch_trains_and_one_is_scored(workshop: Workshop) -> None:
    experiment = prepare_experiment(load_recipe(str(workshop.separable_recipe)), Verb.FINETUNE, ignore)
    before = {name: tensor.clone() for name, tensor in experiment.training.module.state_dict().items()}
    events: list[Event] = []
    try_experiment(experiment, events.append)
    # Counters of the norms tell how many batches they saw; the first phase keeps some norms still.
    counts = [
        int(tensor - before[name])
        for name, tensor in experiment.training.module.state_dict().items()
        if name.endswith("num_batches_tracked")
    ]
    assert set(counts) <= {0, 1}
    moved = [
        name
        for name, parameter in experiment.training.module.named_parameters()
        if not torch.equal(parameter, before[name])
    ]
    assert set(moved) <= {*experiment.training.head, *experiment.training.converted}
    assert set(moved) & set(experiment.training.head)
    assert isinstance(events[-1], Note)
    assert "Nothing written" in events[-1].message


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_would_stop_the_run_stops_it(workshop: Workshop, tmp_path: Path, split: str) -> None:
    for name in ("train", "val", "test"):
        write_pictures(tmp_path / name, dict.fromkeys(CLASSES, 2))
    for picture in (tmp_path / split).rglob("*.png"):
        picture.write_bytes(b"no image")
    recipe = load_recipe(str(workshop.dense_recipe), [f"data.root={tmp_path.as_posix()}"])
    experiment = prepare_experiment(recipe, Verb.TRAIN, ignore)
    with pytest.raises(DataError, match=f"{split}.*cannot be read as an image"):
        try_experiment(experiment, ignore)
