"""One optimization step: everything that changes while a network trains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from dsft.choices import WeightsKind
from dsft.data.seeding import stable_seed
from dsft.devices import Compute
from dsft.distributed.processes import ALONE, Processes
from dsft.progress import Note, Report
from dsft.training.activation_checkpointing import Recomputation
from dsft.training.batches import TrainingBatch
from dsft.training.distillation.feature_hooks import OutputTap
from dsft.training.failures import explained_failures
from dsft.training.objective import add_features, blend_teacher, label_loss
from dsft.training.optim.ema import MovingAverage
from dsft.training.optim.freezing import Phase, describe_phases, enter_phase, phase_at, plan_phases
from dsft.training.optim.optimizer import make_optimizer, restore_optimizer, update_as_rows
from dsft.training.optim.schedule import make_schedule
from dsft.training.settings import FitSettings


class Learner:
    """A network with its optimizer, schedule, phases, moving average and teacher.

    Args:
        module: The network; it is moved to the device and trained in place.
        teacher: The network to learn from beside the labels; it is moved to the device and set to evaluation.
        settings: How it trains.
        compute: Where it runs, and in which number format.
        steps_per_epoch: Optimizer steps in one epoch.
        head: Names of the parameters of the classifier heads.
        converted: Names of the parameters of converted layers.
        report: Told which parameters train when.
        processes: Those that train the same network, each on its part of every batch. Their gradients are added up
            after the backward pass, and not by torch's ``DistributedDataParallel`` during it, which knows no phases,
            no batch in which a process has nothing, and no parts of unequal size.

    Raises:
        RecipeError: The optimizer is unknown, or a phase cannot be.
        ModelError: Gradient checkpointing is asked for, and the network has no blocks.
    """

    def __init__(
        self,
        module: nn.Module,
        teacher: nn.Module | None,
        settings: FitSettings,
        compute: Compute,
        *,
        steps_per_epoch: int,
        head: Collection[str],
        converted: Collection[str],
        report: Report,
        processes: Processes = ALONE,
    ) -> None:
        if (teacher is None) != (settings.distill is None):
            raise ValueError("a teacher and settings.distill go together, found one without the other")
        self.module = compute.place_module(module)
        self._teacher = compute.place_module(teacher).eval() if teacher is not None else None
        self._settings = settings
        self._compute = compute
        self._processes = processes
        self._phases = plan_phases(
            module, settings.freeze, steps_per_epoch=steps_per_epoch, head=head, converted=converted
        )
        self._phase: Phase | None = None
        weights = settings.class_weights
        self._class_weights = torch.tensor(weights, device=compute.device) if weights is not None else None
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimizer = make_optimizer(module, settings.optimizer, {"head": head, "converted": converted})
        self._set_rate = make_schedule(self._optimizer, settings.schedule, steps_per_epoch)
        self._scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.amp_dtype is torch.float16)
        self._average = MovingAverage(module, settings.ema) if settings.ema else None
        self._recomputation = Recomputation(module) if settings.grad_checkpointing else None
        self._forward = torch.compile(module) if settings.compile else module
        # After the average has been copied: it has no use for the hooks.
        layers = settings.distill.layers if settings.distill is not None else ()
        self._taps = tuple(
            OutputTap(network, layers) for network in (self.module, self._teacher) if network is not None
        )
        if settings.freeze:
            for sentence in describe_phases(module, self._phases):
                report(Note(f"freeze: {sentence}"))

    @property
    def scored(self) -> nn.Module:
        """The network whose weights are validated and kept: the average where there is one."""
        return self.average or self.module

    @property
    def average(self) -> nn.Module | None:
        """The network with the moving average of the weights, if there is one."""
        return self._average.module if self._average else None

    @property
    def weights(self) -> WeightsKind:
        """Which weights :attr:`scored` has."""
        return WeightsKind.EMA if self._average else WeightsKind.RAW

    @property
    def rate(self) -> float:
        """The learning rate of the last step, before a layer's or a pattern's factor."""
        group = self._optimizer.param_groups[0]
        return float(group["lr"] / group["lr_scale"])

    def use_rates(self, rates: Sequence[float]) -> None:
        """Let these learning rates, one a step, take the place of the schedule; factors go on to apply."""

        def set_rate(step: int) -> None:
            for group in self._optimizer.param_groups:
                group["lr"] = rates[step] * group["lr_scale"]

        self._set_rate = set_rate

    def start_epoch(self) -> None:
        """Make the next step set training mode again, which validation may have left."""
        self._phase = None

    def update(self, step: int, batches: Sequence[TrainingBatch], images: int | None = None) -> float:
        """Take one step on batches that are summed up: the gradient is that of their images as one batch.

        Several processes take it together, and have the same weights and statistics afterwards.

        Args:
            step: The step's number, counted from 0; rate, phase, average and everything random hang on it.
            batches: The images and their labels; of several processes one may have none.
            images: How many images the processes have together; None where there is one process.

        Returns:
            The mean loss of the images before the update, in nats.

        Raises:
            TrainingError: See :func:`dsft.training.failures.explained_failures`.
            DataError: Likewise.
        """
        self._enter_phase(step)
        self._set_rate(step)
        # Dropout and its like draw from here: a run that goes on at this step draws the same.
        rank = self._processes.rank
        torch.manual_seed(stable_seed("step", self._settings.seed, step, *([rank] if rank else [])))
        self._optimizer.zero_grad(set_to_none=True)
        total = images or sum(len(batch.images) for batch in batches)
        losses = []
        for batch in batches:
            with explained_failures(self.module, batch.images, self._compute.device):
                loss = self._loss(batch) * (len(batch.images) / total)
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        mean = torch.stack(losses).sum().item() if losses else 0.0
        images_of_first = batches[0].images if batches else torch.empty(0)
        with explained_failures(self.module, images_of_first, self._compute.device):
            if self._processes.count > 1:
                mean = self._come_together(mean)
            self._descend()
        if self._average:
            self._average.update(self.module, step)
        return mean

    def is_finite(self) -> bool:
        """Say whether every weight and every statistic is a finite number."""
        return all(bool(tensor.isfinite().all()) for tensor in self.module.state_dict().values())

    def state(self) -> dict[str, Any]:
        """Return what a run needs beside its weights to go on: tensors, numbers, lists and dicts of them."""
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on with what :meth:`state` returned."""
        restore_optimizer(self._optimizer, state["optimizer"])
        # A scaler that does nothing, as on the CPU, has none; the run may go on where it does something.
        if state["scaler"]:
            self._scaler.load_state_dict(dict(state["scaler"]))

    def finish(self) -> None:
        """Leave the network in evaluation mode, with every parameter trainable that was so before."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
        for tap in self._taps:
            tap.remove()
        if self._recomputation is not None:
            self._recomputation.close()
        self.module.eval()

    def _enter_phase(self, step: int) -> None:
        phase = phase_at(self._phases, step)
        if phase is not self._phase:
            enter_phase(self.module, phase)
            self._phase = phase

    def _loss(self, batch: TrainingBatch) -> Tensor:
        settings = self._settings
        images = self._compute.place(batch.images)
        targets = batch.targets.to(self._compute.device, non_blocking=True)
        with self._compute.autocast(), self._taps[0].open() as maps:
            output = self._forward(images)
            loss = label_loss(output, targets, settings.smoothing, self._class_weights, settings.task)
            if self._teacher is None or settings.distill is None:
                return loss
            with torch.no_grad(), self._taps[1].open() as taught_maps:
                taught = self._teacher(images)
            loss = blend_teacher(loss, output, taught, settings.distill, settings.task)
            return add_features(loss, maps, taught_maps, settings.distill)

    def _come_together(self, loss: float) -> float:
        """Add up the gradients and losses of all processes, and take over the statistics of process 0."""
        trained = [parameter for parameter in self._parameters if parameter.requires_grad]
        told = torch.tensor([loss, *(parameter.grad is not None for parameter in trained)], dtype=torch.float64)
        self._processes.add_up([told])
        total, *counts = map(float, told.tolist())
        # What no process has used keeps no gradient, so that nothing moves it; what some have, all have.
        used = [parameter for parameter, count in zip(trained, counts, strict=True) if count]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._processes.add_up([parameter.grad for parameter in used if parameter.grad is not None])
        self._processes.broadcast_tensors(self.module.buffers())
        return total

    def _descend(self) -> None:
        if self._settings.optimizer.clip_grad is not None:
            self._scaler.unscale_(self._optimizer)
            clip_grad_norm_(self._parameters, self._settings.optimizer.clip_grad)
        with update_as_rows(self._optimizer):
            self._scaler.step(self._optimizer)
        self._scaler.update()
