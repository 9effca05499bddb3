"""The recipe: all sections, and the rules between them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.choices import Sampler, TaskName
from dsft.recipe.data_sources import DATA_SOURCES, sources_with
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
    """One training or fine-tuning run."""

    version: Annotated[int, Field(ge=1, le=1, json_schema_extra={"const": 1})]
    """Version of the recipe format."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["quickstart", "run-2.b"])]
    """Name of the run and of its folder: letters, digits, `.`, `_` and `-`."""
    task: TaskName = TaskName.CLASSIFICATION
    """What the network predicts: one class per image (`classification`), or any number of labels per image
    (`multi_label`)."""
    model: ModelSection
    convert: ConvertSection | None = None
    data: DataSection
    augment: AugmentSection = AugmentSection()
    optim: OptimSection = OptimSection()
    schedule: ScheduleSection = ScheduleSection()
    freeze: list[FreezePhase] = []
    """Phases in which only a part of the network is trained, in order of `until`."""
    distill: DistillSection | None = None
    ema: EmaSection | None = None
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    output: OutputSection = OutputSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.data.batch_size == "auto" and self.train.grad_accum != 1:
            raise ValueError("train.grad_accum: is chosen by data.batch_size: auto; remove one of the two")
        self._require_labels_of_task()
        self._resolve_monitor()
        return self

    def _require_labels_of_task(self) -> None:
        """Check that the data have the kind of labels that the task needs."""
        data = self.data
        if self.task is TaskName.CLASSIFICATION:
            if data.label_separator is not None:
                raise ValueError(
                    "data.label_separator: requires task multi_label; with classification an image has one class"
                )
            return
        if not DATA_SOURCES[data.source].has_label_sets:
            needed = sources_with("label_separator")
            raise ValueError(f"data.source: task multi_label needs several labels per image, that is source {needed}")
        if data.label_separator is None:
            raise ValueError("data.label_separator: task multi_label needs the separator between labels, such as ';'")
        if data.sampler is Sampler.BALANCED:
            raise ValueError(
                "data.sampler: balanced requires task classification, since an image with several labels belongs to "
                "several classes; use class_weights"
            )

    def _resolve_monitor(self) -> None:
        """Replace ``auto`` by the metric that it means, so that a run and its report name the metric."""
        valid, monitor = MONITORS[self.task], self.evaluate.monitor
        if monitor == "auto":
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"monitor": valid[0]}))
        elif monitor not in valid:
            raise ValueError(f"evaluate.monitor: with task {self.task} it must be one of {', '.join(valid)}")
