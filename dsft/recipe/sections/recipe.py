"""The recipe: all sections, and the rules between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.choices import DataSource, InputKind, PixelLoss, Sampler, TargetKind, TaskName
from dsft.recipe.data_sources import DATA_SOURCES, sources_of
from dsft.recipe.sections.augment import AUGMENTATION, AugmentSection
from dsft.recipe.sections.base import Section
from dsft.recipe.sections.convert import ConvertSection
from dsft.recipe.sections.data import DataSection
from dsft.recipe.sections.distill import DistillSection
from dsft.recipe.sections.evaluate import MONITORS, EvaluateSection
from dsft.recipe.sections.loss import LossSection
from dsft.recipe.sections.model import ModelSection
from dsft.recipe.sections.optim import EmaSection, FreezePhase, OptimSection, ScheduleSection
from dsft.recipe.sections.output import LogSection, OutputSection
from dsft.recipe.sections.train import TrainSection

TARGETS: Mapping[TaskName, TargetKind] = {
    TaskName.CLASSIFICATION: TargetKind.CLASS,
    TaskName.MULTI_LABEL: TargetKind.LABELS,
    TaskName.SEGMENTATION: TargetKind.MASK,
    TaskName.DETECTION: TargetKind.BOXES,
    TaskName.RESTORATION: TargetKind.IMAGE,
}
"""The ground truth that each task needs."""


_AVERAGED = (TargetKind.CLASS, TargetKind.LABELS)
"""The ground truth of tasks whose predictions for several parts of an example can be averaged."""


class Recipe(Section):
    """One training or fine-tuning run."""

    version: Annotated[int, Field(ge=1, le=1, json_schema_extra={"const": 1})]
    """Version of the recipe format."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["quickstart", "run-2.b"])]
    """Name of the run and of its folder: letters, digits, `.`, `_` and `-`."""
    task: TaskName = TaskName.CLASSIFICATION
    """What the network predicts: one class per image (`classification`), any number of labels per image
    (`multi_label`), a class per pixel (`segmentation`), boxes around objects (`detection`), or a better image
    (`restoration`)."""
    model: ModelSection
    convert: ConvertSection | None = None
    data: DataSection
    augment: AugmentSection = AugmentSection()
    loss: LossSection = LossSection()
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
        """Check that the data have the kind of ground truth that the task needs."""
        data, kind = self.data, TARGETS[self.task]
        if self.task is TaskName.CLASSIFICATION and data.label_separator is not None:
            raise ValueError(
                "data.label_separator: requires task multi_label; with classification an image has one class"
            )
        if kind not in DATA_SOURCES[data.source].targets:
            raise ValueError(
                f"data.source: task {self.task} needs {kind.description} as the ground truth, that is source "
                f"{sources_of(kind)}"
            )
        if self.task is TaskName.MULTI_LABEL and data.label_separator is None:
            raise ValueError("data.label_separator: task multi_label needs the separator between labels, such as ';'")
        if self.task is not TaskName.CLASSIFICATION and data.sampler is Sampler.BALANCED:
            raise ValueError(
                f"data.sampler: balanced requires task classification, and with task {self.task} an image has not "
                "exactly one class; use class_weights"
            )
        self._require_settings_of_input()
        self._require_dense_settings(kind)

    def _require_settings_of_input(self) -> None:
        """Check that the augmentation is that of images, or of what else the data are."""
        data, own = self.data, DATA_SOURCES[self.data.source].inputs
        for key in dict.fromkeys(key for keys in AUGMENTATION.values() for key in keys):
            if getattr(self.augment, key) and key not in AUGMENTATION[own]:
                *others, last = [kind.plural for kind, keys in AUGMENTATION.items() if key in keys]
                kinds = f"{', '.join(others)} and {last}" if others else last
                raise ValueError(f"augment.{key}: is for {kinds}, and source {data.source} has {own.plural}; remove it")
        if own is InputKind.TEXT:
            for key in ("in_chans", "mean", "std"):
                if getattr(self.model, key) is not None:
                    raise ValueError(
                        f"model.{key}: a text has no channels, and source {data.source} has texts; remove it"
                    )
        if data.signal is not None and (data.signal.windows or 1) > 1 and TARGETS[self.task] not in _AVERAGED:
            raise ValueError(f"data.signal.windows: cannot be used with task {self.task}; remove it")
        if self.augment.frequency_mask and (data.signal is None or data.signal.spectrogram is None):
            raise ValueError("augment.frequency_mask: requires data.signal.spectrogram")

    def _require_dense_settings(self, kind: TargetKind) -> None:
        """Check that the settings go with a ground truth that has places in the image, or has none."""
        data, loss = self.data, self.loss
        if data.source is DataSource.SCENES and data.name != self.task:
            raise ValueError(f"data.name: the scenes for task {self.task} are called {self.task}, found {data.name!r}")
        if self.task is not TaskName.SEGMENTATION and loss.dice:
            raise ValueError("loss.dice: requires task segmentation")
        if self.task is not TaskName.RESTORATION and loss.pixel is not PixelLoss.L2:
            raise ValueError("loss.pixel: requires task restoration")
        if kind is not TargetKind.BOXES and data.letterbox is not None:
            raise ValueError("data.letterbox: requires task detection")
        if kind not in (TargetKind.MASK, TargetKind.IMAGE) and data.window_overlap is not None:
            raise ValueError("data.window_overlap: requires task segmentation or restoration")
        self._require_settings_of_masks(kind)
        if kind in (TargetKind.CLASS, TargetKind.LABELS):
            return
        what = "boxes" if kind is TargetKind.BOXES else "a picture"
        has = f"with task {self.task}, whose ground truth is {what}"
        if given := [key for key, value in self._unfit_augmentation(kind).items() if value]:
            raise ValueError(f"augment.{given[0]}: cannot be used {has}; remove it")
        if data.class_weights == "auto" or (data.class_weights is not None and kind is not TargetKind.MASK):
            raise ValueError(f"data.class_weights: cannot be {'auto' if kind is TargetKind.MASK else 'used'} {has}")
        if kind is TargetKind.BOXES and self.distill is not None and self.distill.logits:
            raise ValueError("distill.logits: must be 0 with task detection; distil features instead")
        self._require_degradation(kind)

    def _require_settings_of_masks(self, kind: TargetKind) -> None:
        """Check that the settings of a source that may have masks are those of masks, or of one class an example."""
        fields = type(self.data).model_fields
        keys = ("class_names", "ignore_index") if kind in _AVERAGED else ("groups",)
        for key in keys:
            if getattr(self.data, key) != fields[key].default:
                raise ValueError(f"data.{key}: cannot be used with task {self.task}; remove it")

    def _unfit_augmentation(self, kind: TargetKind) -> dict[str, object]:
        """Return the augmentation that cannot be used, by key."""
        keys = ["auto_augment", "erase", "mixup", "cutmix", "cutmix_minmax"]
        if kind in (TargetKind.IMAGE, TargetKind.BOXES):
            keys += ["smoothing"]
        if kind is TargetKind.IMAGE:
            keys += ["color_jitter", "scale"]
        return {key: getattr(self.augment, key) for key in keys}

    def _require_degradation(self, kind: TargetKind) -> None:
        data = self.data
        if data.source is DataSource.SCENES and kind is TargetKind.IMAGE and data.degrade is None:
            raise ValueError("data.degrade: the scenes for task restoration are clean; say how they are degraded")
        if kind is not TargetKind.IMAGE and data.degrade is not None:
            raise ValueError("data.degrade: requires task restoration")

    def _resolve_monitor(self) -> None:
        """Replace ``auto`` by the metric that it means, so that a run and its report name the metric."""
        valid, monitor = MONITORS[self.task], self.evaluate.monitor
        if monitor == "auto":
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"monitor": valid[0]}))
        elif monitor not in valid:
            raise ValueError(f"evaluate.monitor: with task {self.task} it must be one of {', '.join(valid)}")
