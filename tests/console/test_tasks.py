from __future__ import annotations

import pytest

from dsft.console.tasks import Task, follow
from dsft.progress import Advanced, Finished, Note, Started


def test_a_task_is_followed_from_its_start_to_its_end() -> None:
    tasks: dict[str, Task] = {}
    follow(tasks, Started("train", 40, "steps"), 5.0)
    follow(tasks, Started("evaluate val", 8, "images"), 6.0)
    follow(tasks, Advanced("train", 10, {"loss": 0.5}), 7.0)
    assert tasks["train"] == Task("train", 40, "steps", 5.0, 10, {"loss": 0.5})
    follow(tasks, Note("nothing to do with it"), 8.0)
    ended = follow(tasks, Finished("train"), 8.0)
    assert ended == Task("train", 40, "steps", 5.0, 10, {"loss": 0.5})
    assert list(tasks) == ["evaluate val"]


def test_a_display_survives_events_of_a_task_that_never_started() -> None:
    tasks: dict[str, Task] = {}
    follow(tasks, Advanced("train", 10), 1.0)
    follow(tasks, Finished("train"), 2.0)
    assert tasks == {}


def test_a_task_that_starts_again_begins_at_nothing() -> None:
    tasks: dict[str, Task] = {}
    follow(tasks, Started("train", 40, "steps"), 5.0)
    follow(tasks, Advanced("train", 10), 7.0)
    follow(tasks, Started("train", 40, "steps"), 9.0)
    assert tasks["train"].done == 0


def texts(task: Task, now: float) -> list[str]:
    return [word.text for word in task.words(now)]


def test_its_words_are_count_rate_time_left_and_values() -> None:
    task = Task("train", 400, "steps", start=10.0, done=100, values={"loss": 0.123456, "lr": 1e-05})
    assert texts(task, 20.0) == ["100/400", "10 steps/s", "0:30 left", "loss 0.1235", "lr 1.000e-05"]
    by_importance = sorted(task.words(20.0), key=lambda word: -word.importance)
    assert [word.text.split()[0] for word in by_importance] == ["100/400", "0:30", "loss", "10", "lr"]


def test_before_the_first_unit_there_is_no_rate() -> None:
    assert texts(Task("train", 400, "steps", start=10.0), 20.0) == ["  0/400 steps"]


def test_more_units_than_foreseen_leave_no_time() -> None:
    assert texts(Task("train", 4, "steps", start=0.0, done=8), 8.0)[2] == "0:00 left"


def test_what_an_earlier_process_did_says_nothing_of_the_rate() -> None:
    tasks: dict[str, Task] = {}
    follow(tasks, Started("train", 400, "steps", 300), 10.0)
    assert texts(tasks["train"], 20.0) == ["300/400 steps"]
    follow(tasks, Advanced("train", 350), 20.0)
    assert texts(tasks["train"], 20.0) == ["350/400", "5 steps/s", "0:10 left"]


@pytest.mark.parametrize(
    ("done", "label"), [(0, " 1/10"), (20, " 1/10"), (21, " 2/10"), (199, "10/10"), (200, "10/10")]
)
def test_a_training_says_which_epoch_runs(done: int, label: str) -> None:
    assert Task("training", 200, "steps", 0.0, done, epochs=10).label == f"epoch {label}"


def test_a_task_without_epochs_is_called_by_its_name() -> None:
    assert Task("refitting layers", 3, "layers", 0.0, 1).label == "refitting layers"
