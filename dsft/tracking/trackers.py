"""Figures of a run in TensorBoard, Weights & Biases or MLflow, beside ``metrics.jsonl``: only where asked for."""

from __future__ import annotations

import contextlib
import importlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dsft.choices import TrackerName
from dsft.errors import RecipeError
from dsft.progress import EpochDone, Event, FolderOpened, Report, Scored, Warn
from dsft.storage import write_json

PROJECT = "dsft"
"""What the project (W&B) or experiment (MLflow) of the runs is called."""

_IDS_FILE = "tracking.json"
_PLACES = ("epoch", "step")  # what figures are plotted against


class Tracker(Protocol):
    """Somewhere that keeps figures; each is named as in ``metrics.jsonl``."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep figures of a step, counted from 1."""

    def close(self, *, succeeded: bool) -> None:
        """End the run there."""


class TensorBoardTracker:
    """Event files in the run's folder, under ``tensorboard``.

    Args:
        folder: The run's folder.
        name: The run's name.
        config: The recipe as JSON values.
        resumed_step: The step after which a run goes on: what was logged since then is hidden.
        identity: Unused; a folder is one run.
    """

    def __init__(
        self, folder: Path, name: str, config: Mapping[str, Any], resumed_step: int | None, identity: str
    ) -> None:
        del identity
        purge = None if resumed_step is None else resumed_step + 1
        library = _module(TrackerName.TENSORBOARD)
        self._writer = library.SummaryWriter(log_dir=str(folder / "tensorboard"), purge_step=purge)
        if resumed_step is None:
            recipe = json.dumps(config, indent=2)
            self._writer.add_text("recipe", f"{name}\n\n```\n{recipe}\n```")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep figures of a step, counted from 1."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, succeeded: bool) -> None:
        """Close the files."""
        del succeeded
        self._writer.close()


class WandbTracker:
    """A run in Weights & Biases; its own variables, such as ``WANDB_MODE=offline``, say where and how.

    Args:
        folder: The run's folder, in which W&B keeps its files.
        name: The run's name.
        config: The recipe as JSON values.
        resumed_step: The step after which a run goes on.
        identity: A run that goes on has the same as before.
    """

    def __init__(
        self, folder: Path, name: str, config: Mapping[str, Any], resumed_step: int | None, identity: str
    ) -> None:
        self._run = _module(TrackerName.WANDB).init(
            project=PROJECT,
            name=name,
            id=identity,
            resume="allow" if resumed_step is not None else "never",
            dir=str(folder),
            config=dict(config),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep figures of a step, counted from 1."""
        self._run.log(dict(values), step=step)

    def close(self, *, succeeded: bool) -> None:
        """End the run there."""
        self._run.finish(exit_code=0 if succeeded else 1)


class MlflowTracker:
    """A run in MLflow; its own variables, such as ``MLFLOW_TRACKING_URI``, say where.

    Args:
        folder: The run's folder, noted as a tag.
        name: The run's name.
        config: The recipe as JSON values; every key becomes a parameter, as ``optim.lr``.
        resumed_step: The step after which a run goes on.
        identity: A run that goes on has the same as before; it is kept as a tag, since MLflow chooses its own.
    """

    def __init__(
        self, folder: Path, name: str, config: Mapping[str, Any], resumed_step: int | None, identity: str
    ) -> None:
        self._client = _module(TrackerName.MLFLOW).MlflowClient()
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment is not None else self._client.create_experiment(PROJECT)
        earlier = self._client.search_runs([number], f"tags.dsft_id = '{identity}'") if resumed_step is not None else []
        if earlier:
            self._id = earlier[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {"dsft_id": identity, "folder": str(folder)}
        self._id = self._client.create_run(number, run_name=name, tags=tags).info.run_id
        for key, value in _flat(config):
            self._client.log_param(self._id, key, value)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep figures of a step, counted from 1."""
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self, *, succeeded: bool) -> None:
        """End the run there."""
        self._client.set_terminated(self._id, status="FINISHED" if succeeded else "FAILED")


_TRACKERS: Mapping[TrackerName, Callable[..., Tracker]] = {
    TrackerName.TENSORBOARD: TensorBoardTracker,
    TrackerName.WANDB: WandbTracker,
    TrackerName.MLFLOW: MlflowTracker,
}
_MODULES = {
    TrackerName.TENSORBOARD: "torch.utils.tensorboard",
    TrackerName.WANDB: "wandb",
    TrackerName.MLFLOW: "mlflow",
}


@contextlib.contextmanager
def tracking(names: Sequence[TrackerName], name: str, config: Mapping[str, Any], report: Report) -> Iterator[Report]:
    """Yield a report that passes the figures of a run on, from when its folder is open.

    A tracker that fails, for want of a network or a disk, is given up with a warning: no run is lost for its log.

    Args:
        names: Where to; ``jsonl`` is written by the run itself.
        name: The run's name.
        config: The recipe as JSON values.
        report: Is told of a tracker that failed.

    Raises:
        RecipeError: A package is not installed.
    """
    wanted = [tracker for tracker in dict.fromkeys(names) if tracker in _TRACKERS]
    for tracker in wanted:
        require_tracker(tracker)
    board = _Board(wanted, name, config, report)
    try:
        yield board.take
    except BaseException:
        board.close(succeeded=False)
        raise
    board.close(succeeded=True)


class _Board:
    """The open trackers of a run."""

    def __init__(self, wanted: Sequence[TrackerName], name: str, config: Mapping[str, Any], report: Report) -> None:
        self._wanted, self._name, self._config, self._report = wanted, name, config, report
        self._open: dict[TrackerName, Tracker] = {}
        self._step = 0

    def take(self, event: Event) -> None:
        """Open the trackers with the run's folder, and pass figures on."""
        if isinstance(event, FolderOpened) and self._wanted:
            self._start(event.folder, event.resumed_step)
        elif isinstance(event, EpochDone):
            self._step = int(event.values["step"])
            values = {name: value for name, value in event.values.items() if name not in _PLACES}
            self._each(lambda tracker: tracker.log({**values, "epoch": event.epoch}, self._step))
        elif isinstance(event, Scored):
            values = {f"scores/{event.slot}/{name}": value for name, value in event.values.items()}
            self._each(lambda tracker: tracker.log(values, self._step))

    def close(self, *, succeeded: bool) -> None:
        """End the run everywhere."""
        self._each(lambda tracker: tracker.close(succeeded=succeeded))
        self._open.clear()

    def _start(self, folder: Path, resumed_step: int | None) -> None:
        identity = _identity(folder, is_resumed=resumed_step is not None)
        self._step = resumed_step or 0
        for name in self._wanted:
            with self._given_up(name):
                self._open[name] = _TRACKERS[name](folder, self._name, self._config, resumed_step, identity)

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            with self._given_up(name):
                act(tracker)

    @contextlib.contextmanager
    def _given_up(self, name: TrackerName) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever its network, its disk or its login raise
            self._open.pop(name, None)
            self._report(Warn(f"log.to: {name} failed and is given up ({type(error).__name__}: {error})"))


def _identity(folder: Path, *, is_resumed: bool) -> str:
    """Return what names a run for good; one that goes on has the same."""
    file = folder / _IDS_FILE
    if is_resumed:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads(file.read_text(encoding="utf-8"))["id"])
    identity = uuid.uuid4().hex[:16]
    write_json(file, {"id": identity})
    return identity


def require_tracker(name: TrackerName) -> None:
    """Check that the package of a tracker is installed.

    Raises:
        RecipeError: It is not.
    """
    if name in _MODULES:
        _module(name)


def _module(name: TrackerName) -> Any:
    try:
        return importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise RecipeError(
            f"log.to: {name} needs a package that is not installed ({error}). Install it: pip install 'dsft[{name}]'"
        ) from error


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
