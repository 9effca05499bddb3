"""One optimization step, and the state that changes with it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from dsft.choices import WeightsKind
from dsft.data.seeding import stable_seed
from dsft.distributed.data_parallel import GradientExchange, unify_strides
from dsft.distributed.sync_batchnorm import SyncBatchNorm
from dsft.progress import Note, Report
from dsft.training.activation_checkpointing import ActivationCheckpointing
from dsft.training.batches import TrainingBatch
from dsft.training.failures import explained_failures
from dsft.training.optim.ema import MovingAverage
from dsft.training.optim.freezing import (
    Phase,
    describe_phases,
    enter_phase,
    has_running_statistics,
    phase_at,
    plan_phases,
)
from dsft.training.optim.optimizer import fused_update_context, make_optimizer, restore_optimizer
from dsft.training.optim.schedule import make_schedule
from dsft.training.setup import TrainingSetup
from dsft.training.step_loss import StepLoss


class TrainStep:
    """A network with its loss, optimizer, schedule, freezing phases and moving average.

    In several processes each step is taken together: gradients are averaged during the backward pass
    (:class:`dsft.distributed.data_parallel.GradientExchange`), so that the weights stay equal. Running statistics do
    not: each process updates its own, and those of process 0, which has images in every batch, are shared when they
    are needed (:meth:`share_statistics`).

    Args:
        setup: The network, its teacher and the hyperparameters.
        steps_per_epoch: Optimizer steps in an epoch.
        report: Receives the freezing phases.

    Raises:
        RecipeError: The optimizer or a freezing phase is invalid.
        ModelError: Activation checkpointing is enabled, and the network has no blocks.
    """

    def __init__(self, setup: TrainingSetup, *, steps_per_epoch: int, report: Report) -> None:
        settings, compute = setup.settings, setup.compute
        self.module = compute.place_module(setup.module)
        if setup.teacher is not None:
            compute.place_module(setup.teacher).eval()
        if setup.processes.count > 1:
            unify_strides(self.module, channels_last=compute.channels_last)
        self._setup = setup
        self._phases = plan_phases(
            self.module,
            settings.freeze,
            steps_per_epoch=steps_per_epoch,
            head=setup.head,
            converted=setup.converted,
        )
        self._phase: Phase | None = None
        self._is_training = False
        self._parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        words = {"head": setup.head, "converted": setup.converted}
        self._optimizer = make_optimizer(self.module, settings.optimizer, words)
        self._set_rate = make_schedule(self._optimizer, settings.schedule, steps_per_epoch)
        self._scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.amp_dtype is torch.float16)
        self._average = MovingAverage(self.module, settings.ema) if settings.ema else None
        # After the copy for the average, which none of these changes.
        self._checkpointing = ActivationCheckpointing(self.module) if settings.grad_checkpointing else None
        self._norms: SyncBatchNorm | None = None
        if settings.sync_batchnorm and setup.processes.count > 1:
            self._norms = SyncBatchNorm(self.module, setup.processes)
        self._placeholder: Tensor | None = None
        self._loss = StepLoss(setup)
        self._exchange: GradientExchange | None = None
        if settings.freeze:
            for sentence in describe_phases(self.module, self._phases):
                report(Note(f"freeze: {sentence}"))

    @property
    def device(self) -> torch.device:
        """Where the network is trained."""
        return self._setup.compute.device

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved: the moving average if there is one."""
        return self.average or self.module

    @property
    def average(self) -> nn.Module | None:
        """The network with the moving average of the weights, if there is one."""
        return self._average.module if self._average else None

    @property
    def weights(self) -> WeightsKind:
        """Which weights :attr:`evaluated` has."""
        return WeightsKind.EMA if self._average else WeightsKind.RAW

    @property
    def rate(self) -> float:
        """Learning rate of the last step, without the factors of single layers or patterns."""
        group = self._optimizer.param_groups[0]
        return float(group["lr"] / group["lr_scale"])

    def use_rates(self, rates: Sequence[float]) -> None:
        """Replace the schedule by these learning rates, one per step; factors of layers and patterns still apply."""

        def set_rate(step: int) -> None:
            for group in self._optimizer.param_groups:
                group["lr"] = rates[step] * group["lr_scale"]

        self._set_rate = set_rate

    def start_epoch(self) -> None:
        """Return to training mode at the next step: validation sets evaluation mode."""
        self._is_training = False

    def run(self, step: int, batches: Sequence[TrainingBatch | None], images: int | None = None) -> Tensor:
        """Take one step on accumulated batches: the gradient is that of their images as a single batch.

        All processes call it together. The host does not wait for the device.

        Args:
            step: Number of the step, counted from 0; it determines learning rate, phase, EMA decay and seed.
            batches: Images and targets; None for a batch of which only other processes have images.
            images: Number of images in all processes; None in a single process.

        Returns:
            The sum of the losses of this process's images before the update, divided by ``images``: a scalar in nats
            on the device. Summed over the processes it is the mean loss.

        Raises:
            TrainingError: See :func:`dsft.training.failures.explained_failures`.
            DataError: Likewise.
        """
        exchange = self._enter_phase(step)
        self._set_rate(step)
        # Seeds dropout and the like by the step, so that a resumed run draws the same numbers.
        rank = self._setup.processes.rank
        torch.manual_seed(stable_seed("step", self._setup.settings.seed, step, *([rank] if rank else [])))
        self._optimizer.zero_grad(set_to_none=True)
        own = [batch.images for batch in batches if batch is not None]
        loss = self._accumulate(exchange, batches, images or sum(map(len, own)))
        with explained_failures(self.module, next(iter(own), None), self.device):
            self._update_weights()
        if self._average:
            self._average.update(self.module, step)
        return loss

    def is_finite(self) -> bool:
        """Whether every weight and every running statistic is finite."""
        # Not every buffer: that of a mask may hold infinities.
        statistics = [each for part in self.module.modules() if has_running_statistics(part) for each in part.buffers()]
        return all(bool(tensor.isfinite().all()) for tensor in (*self.module.parameters(), *statistics))

    def share_statistics(self) -> None:
        """Give the network and its average the buffers that they have in process 0; all processes call it together."""
        for network in (self.module, self.average):
            if network is not None:
                self._setup.processes.broadcast_tensors(network.buffers())

    def state(self) -> dict[str, Any]:
        """Return the state of the optimizer and the gradient scaler, made of tensors, numbers, lists and dicts."""
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        restore_optimizer(self._optimizer, state["optimizer"])
        # Empty if the scaler was disabled, as on a CPU; the run may continue on a device that needs it.
        if state["scaler"]:
            self._scaler.load_state_dict(dict(state["scaler"]))

    def close(self) -> None:
        """Leave the network in evaluation mode, with hooks removed and ``requires_grad`` as it was before training."""
        self._exchange = None
        for parameter in self._parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
        self._loss.close()
        for undone in (self._norms, self._checkpointing):
            if undone is not None:
                undone.close()
        self.module.eval()

    def _enter_phase(self, step: int) -> GradientExchange:
        phase = phase_at(self._phases, step)
        if phase is not self._phase or self._exchange is None:
            # Norms that are frozen in this phase normalize with their running statistics.
            self.share_statistics()
            enter_phase(self.module, phase)
            # Drop the old one first: its buffers hold a gradient of every parameter.
            self._exchange = None
            self._exchange = GradientExchange(self._loss, self._setup.processes)
        elif not self._is_training:
            enter_phase(self.module, phase)
        self._phase, self._is_training = phase, True
        return self._exchange

    def _accumulate(self, exchange: GradientExchange, batches: Sequence[TrainingBatch | None], images: int) -> Tensor:
        """Accumulate the gradients of the batches, each weighted by its share of the images of the step."""
        processes = self._setup.processes.count
        losses: list[Tensor] = []
        inputs = self._inputs(batches)
        for number, (batch, targets) in enumerate(inputs, 1):
            weight = len(batch) / images if batch is not None and targets is not None else 0.0
            with (
                explained_failures(self.module, batch, self.device),
                exchange.backward_pass(is_last=number == len(inputs)),
                self._norms.placeholder() if self._norms and targets is None else contextlib.nullcontext(),
            ):
                loss = exchange(batch, targets) * weight
                # The exchange divides the sum over the processes by their number.
                self._scaler.scale(loss * processes).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _inputs(self, batches: Sequence[TrainingBatch | None]) -> list[tuple[Tensor | None, Tensor | None]]:
        """Return images and targets of each forward pass; with shared statistics all processes have as many."""
        own = [(batch.images, batch.targets) for batch in batches if batch is not None]
        if self._norms is None:
            return [*own] or [(None, None)]
        if self._placeholder is None:
            found = self._setup.processes.gather([(tuple(images.shape[1:]), images.dtype) for images, _ in own])
            shape, dtype = next(each for part in found for each in part)
            self._placeholder = torch.zeros(1, *shape, dtype=dtype)
        placeholder = self._placeholder
        return [(batch.images, batch.targets) if batch is not None else (placeholder, None) for batch in batches]

    def _update_weights(self) -> None:
        if self._setup.settings.optimizer.clip_grad is not None:
            self._scaler.unscale_(self._optimizer)
            clip_grad_norm_(self._parameters, self._setup.settings.optimizer.clip_grad)
        with fused_update_context(self._optimizer):
            self._scaler.step(self._optimizer)
        self._scaler.update()
