"""The recipe: all of its sections, and the rules between them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.choices import DataSource, Sampler, TaskName
from dsft.recipe.sections.augment import AugmentSection
from dsft.recipe.sections.base import Section
from dsft.recipe.sections.convert import ConvertSection
from dsft.recipe.sections.data import DataSection
from dsft.recipe.sections.distill import DistillSection
from dsft.recipe.sections.evaluate import MONITORS, EvaluateSection
from dsft.recipe.sections.model import ModelSection
from dsft.recipe.sections.optim import EmaSection, FreezePhase, OptimSection, ScheduleSection
from dsft.recipe.sections.output import LogSection, OutputSection
from dsft.recipe.sections.train import TrainSection


class Recipe(Section):
    """One fine-tuning or training run."""

    version: Annotated[int, Field(ge=1, le=1, json_schema_extra={"const": 1})]
    """Version of the recipe format."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["quickstart", "run-2.b"])]
    """The run's name; it names the output folder, so it is made of letters, digits, `.`, `_` and `-`."""
    task: TaskName = TaskName.CLASSIFICATION
    """What the network predicts of an image: its one class (`classification`), or any number of labels
    (`multi_label`)."""
    model: ModelSection
    convert: ConvertSection | None = None
    data: DataSection
    augment: AugmentSection = AugmentSection()
    optim: OptimSection = OptimSection()
    schedule: ScheduleSection = ScheduleSection()
    freeze: list[FreezePhase] = []
    """Phases in which a part of the network is frozen, in order of `until`."""
    distill: DistillSection | None = None
    ema: EmaSection | None = None
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    output: OutputSection = OutputSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.data.batch_size == "auto" and self.train.grad_accum != 1:
            raise ValueError("train.grad_accum: is chosen where data.batch_size is auto; leave one of the two out")
        self._require_labels_of_task()
        self._settle_monitor()
        return self

    def _require_labels_of_task(self) -> None:
        """Check that the data have such labels as the task needs."""
        data = self.data
        if self.task is TaskName.CLASSIFICATION:
            if data.label_separator is not None:
                raise ValueError("data.label_separator: goes with task multi_label; here an image has one class")
            return
        if data.source is not DataSource.CSV:
            raise ValueError("data.source: task multi_label needs a table with several labels an image, source csv")
        if data.label_separator is None:
            raise ValueError("data.label_separator: task multi_label needs what stands between two labels, such as ';'")
        if data.sampler is Sampler.BALANCED:
            raise ValueError(
                "data.sampler: balanced goes with task classification, since an image with several labels is in "
                "several classes at once; use class_weights"
            )

    def _settle_monitor(self) -> None:
        """Put what ``auto`` stands for in its place, so that a run and its report name a metric."""
        valid = MONITORS[self.task]
        if self.evaluate.monitor == "auto":
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"monitor": valid[0]}))
        elif self.evaluate.monitor not in valid:
            raise ValueError(
                f"evaluate.monitor: task {self.task} has {', '.join(valid)}, found {self.evaluate.monitor!r}"
            )
