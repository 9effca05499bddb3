"""MLflow; its environment variables, such as ``MLFLOW_TRACKING_URI``, say where to log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dsft.tracking.tracker import PROJECT, TrackedRun


class MlflowTracker:
    """Logs to an MLflow run; every key of the recipe becomes a parameter, such as ``optim.lr``.

    Args:
        library: The module ``mlflow``.
        run: The run. MLflow chooses the identifiers of its runs, so ours is kept as a tag.
    """

    def __init__(self, library: Any, run: TrackedRun) -> None:
        self._client = library.MlflowClient()
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(PROJECT)
        earlier = []
        if run.resumed_step is not None:
            earlier = self._client.search_runs([experiment], f"tags.dsft_id = '{run.identity}'")
        if earlier:
            self._id = earlier[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {"dsft_id": run.identity, "folder": str(run.folder)}
        self._id = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        for key, value in _flat(run.config):
            self._client.log_param(self._id, key, value)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the values of a step."""
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self, *, succeeded: bool) -> None:
        """Terminate the MLflow run."""
        self._client.set_terminated(self._id, status="FINISHED" if succeeded else "FAILED")


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
