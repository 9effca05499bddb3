"""Conversion and distillation with Lightning. It needs the extra ``lightning``."""

from __future__ import annotations

import json
import os
from typing import Any, Self

from dsft.choices import TaskName
from dsft.conversion import ConversionPlan, apply_plan, check_converted, convert, replay_plan
from dsft.errors import CheckpointError, ConversionError
from dsft.measure.example import ExampleInput
from dsft.runtimes.packages import require_packages
from dsft.separable import FactoredConv
from dsft.tasks.distillation import distillation_loss

require_packages("dsft.lightning", "lightning", ["lightning"], oldest={"lightning": (2, 5)})

import torch  # noqa: E402 (after the check, which says how to install it)
from lightning import pytorch as pl  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

_PLAN = "dsft_plan"
"""The key of the plan in a checkpoint."""


class ConversionCallback(pl.Callback):  # type: ignore[misc]
    """Converts the network of a module before the optimizers are made, and stores the plan in the checkpoints.

    A network that is converted already is left as it is. At the end of a training it is an error if converted layers
    are gone. To resume, or to validate a checkpoint, use :meth:`from_checkpoint`.

    Args:
        plan: The plan of the conversion; required if the network is converted already. None plans with ``settings``.
        network: The attribute of the module that holds the network.
        example_input: Input of the network; None for ``example_input_array`` of the module.
        settings: Arguments of :func:`dsft.convert`, such as ``budget`` and ``calibration``.

    Raises:
        ConversionError: Both a plan and settings are given, or neither.
    """

    def __init__(
        self,
        plan: ConversionPlan | None = None,
        *,
        network: str = "model",
        example_input: ExampleInput | None = None,
        **settings: Any,
    ) -> None:
        if (plan is None) != bool(settings):
            raise ConversionError(
                "ConversionCallback: exactly one of plan and the arguments of dsft.convert is needed, such as "
                "budget={'macs': 0.5}."
            )
        self.plan, self._network, self._example_input, self._settings = plan, network, example_input, settings
        self._has_weights = False

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], *, network: str = "model") -> Self:
        """Return a callback with the plan of a checkpoint, for ``fit``, ``validate`` or ``test`` with ``ckpt_path``.

        Args:
            path: The checkpoint of a training with this callback.
            network: The attribute of the module that holds the network.

        Raises:
            CheckpointError: It holds no plan, or more than plain values, which are not read.
        """
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises pickle's errors, and its own
            raise CheckpointError(
                f"checkpoint {os.fspath(path)!r}: cannot be read without its code ({error})."
            ) from error
        if _PLAN not in stored:
            raise CheckpointError(
                f"checkpoint {os.fspath(path)!r}: holds no plan. Train with ConversionCallback, which stores it."
            )
        callback = cls(ConversionPlan.from_dict(json.loads(stored[_PLAN])), network=network)
        callback._has_weights = True
        return callback

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Convert the network, before weights of a checkpoint are loaded and optimizers are made."""
        del trainer, stage
        network = self._read(pl_module)
        if any(isinstance(layer, FactoredConv) for layer in network.modules()):
            if self.plan is None:
                raise ConversionError("ConversionCallback: the network is converted already. Pass its plan.")
            return
        if self.plan is None:
            example = pl_module.example_input_array if self._example_input is None else self._example_input
            if example is None:
                raise ConversionError("ConversionCallback: needs example_input, or example_input_array in the module.")
            conversion = convert(network, example, **self._settings)
            self.plan, converted = conversion.plan, conversion.model.train(network.training)
        else:
            converted = (replay_plan if self._has_weights else apply_plan)(network, self.plan)
        setattr(pl_module, self._network, converted)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Check that the converted network is the one that is trained."""
        del trainer
        self._check(pl_module)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Check that the converted layers are still there."""
        del trainer
        self._check(pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Store the plan."""
        del trainer, pl_module
        if self.plan is not None:
            # As text, so that torch reads the checkpoint with weights_only.
            checkpoint[_PLAN] = json.dumps(self.plan.to_dict())

    def _read(self, pl_module: Any) -> nn.Module:
        network = getattr(pl_module, self._network, None)
        if not isinstance(network, nn.Module):
            raise ConversionError(
                f"ConversionCallback: expected a network in the attribute {self._network!r} of "
                f"{type(pl_module).__name__}, found {type(network).__name__}. Name it: network='net'."
            )
        return network

    def _check(self, pl_module: Any) -> None:
        if self.plan is not None:
            check_converted(self._read(pl_module), self.plan)


class DistillationModule(pl.LightningModule):  # type: ignore[misc]
    """Fine-tunes a converted network with the original as its teacher.

    A batch is ``(inputs, targets)``, or inputs alone with ``labels=0``. Override ``label_loss`` for other targets than
    class indices, and ``configure_optimizers`` for another optimizer than AdamW.

    Args:
        model: The converted network.
        teacher: The network before its conversion. It is neither trained nor part of checkpoints.
        labels: Weight of the loss on the labels, 0 to 1; the rest is that of the distillation.
        temperature: See :func:`dsft.distillation_loss`.
        lr: Learning rate.
        weight_decay: Of all parameters.
        task: What the outputs mean.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        *,
        labels: float = 0.5,
        temperature: float = 2.0,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        task: str = TaskName.CLASSIFICATION,
    ) -> None:
        super().__init__()
        if not 0 <= labels <= 1:
            raise ValueError(f"labels: expected a number from 0 to 1, found {labels!r}")
        self.model = model
        # In a tuple, so that it is no submodule.
        self._teacher = (teacher.eval().requires_grad_(False),)
        self._labels, self._temperature, self._task = labels, temperature, task
        self._lr, self._weight_decay = lr, weight_decay

    def forward(self, inputs: Any) -> Any:
        """Run the converted network."""
        return self.model(inputs)

    def label_loss(self, output: Any, targets: Tensor) -> Tensor:
        """Return the loss on the labels: the cross entropy."""
        return functional.cross_entropy(output, targets)

    def on_fit_start(self) -> None:
        """Move the teacher to the device of the network, and put that into training mode."""
        self._teacher[0].to(self.device)
        self.model.train()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the weighted loss, which is logged as ``train_loss``."""
        del batch_idx
        inputs, targets = batch if isinstance(batch, tuple | list) else (batch, None)
        output = self.model(inputs)
        with torch.no_grad():
            expected = self._teacher[0](inputs)
        loss = (1 - self._labels) * distillation_loss(output, expected, temperature=self._temperature, task=self._task)
        if self._labels:
            loss = loss + self._labels * self.label_loss(output, targets)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the parameters of the converted network."""
        return torch.optim.AdamW(self.model.parameters(), lr=self._lr, weight_decay=self._weight_decay)
