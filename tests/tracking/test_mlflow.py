from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsft.choices import TrackerName
from dsft.progress import EpochDone, FolderOpened, ignore
from dsft.tracking import track_run

mlflow: Any = pytest.importorskip("mlflow")


def test_a_resumed_run_continues_its_mlflow_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for resumed_step, step in ((None, 10), (10, 20)):
        with track_run([TrackerName.MLFLOW], "run", {"optim": {"lr": 0.1}}, ignore) as track:
            track(FolderOpened(tmp_path, resumed_step))
            track(EpochDone(step // 10, 2, {"epoch": step // 10, "step": step, "loss": 0.5}, best=False))
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("dsft").experiment_id])
    assert run.data.params == {"optim.lr": "0.1"}
    assert run.info.status == "FINISHED"
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")] == [
        (10, 0.5),
        (20, 0.5),
    ]
