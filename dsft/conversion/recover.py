"""``dsft.recover``: a converted network is trained to reproduce the original, without labels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from dsft.choices import AUTO
from dsft.conversion.discovery.preconditions import check_preconditions, unwrap_network
from dsft.conversion.reconstruction.calibration_data import Calibration, read_calibration
from dsft.conversion.reconstruction.recovery import Recovery, recover_network, set_aside
from dsft.conversion.request import require_steps
from dsft.errors import ConversionError
from dsft.progress import Event, Report, Warn, warn
from dsft.separable import FactoredConv


@torch.inference_mode(mode=False)  # tensors created in inference mode could not be trained
def recover(
    student: nn.Module,
    teacher: nn.Module,
    batches: Calibration,
    *,
    steps: int | Literal["auto"] | None = None,
    seconds: float = math.inf,
    seed: int = 0,
    report: Report = warn,
) -> Recovery:
    """Train a converted network to reproduce the outputs of the original and of its blocks, in place, without labels.

    It is what ``dsft.convert(..., recover=True)`` does after the fit, for a network that was converted earlier, with
    more inputs or more steps. Converted layers, biases and norms are trained, and norms keep their statistics. An
    eighth of the inputs, at most 64, decides which state is kept; the network stays as it was where no step improves
    on it.

    Args:
        student: The converted network. Of a compiled or data-parallel one the network inside is trained.
        teacher: The network before its conversion, on the same device.
        batches: Inputs of the networks, preprocessed and without labels, as for ``calibration`` of
            :func:`dsft.convert`; at least 16 images in several batches. They are held in memory.
        steps: Number of steps; None or ``"auto"`` for at most 600, and no more than fit into ``seconds``.
        seconds: Largest time in seconds, where no number of steps is given.
        seed: Seed of the order of the inputs, and of their shifts and mixtures.
        report: Receives the progress; by default its warnings are those of Python.

    Returns:
        The steps taken, and the distance of the outputs from the teacher's before and after, on the inputs set aside.

    Raises:
        ConversionError: The student has no converted layers, the teacher is another network, there are too few inputs,
            all converted layers are frozen, or the network is not differentiable.
    """
    require_steps("steps", steps)
    student, teacher = unwrap_network(student), unwrap_network(teacher)
    check_preconditions(student)
    names = _converted_layers(student, teacher)
    fitted, held_out = set_aside(read_calibration(batches, student))
    told: list[str] = []

    def tell(event: Event) -> None:
        # Why nothing is done is an error here.
        if isinstance(event, Warn):
            told.append(event.message)
        else:
            report(event)

    limit = None if steps == AUTO else steps
    done = recover_network(
        teacher, student, names, fitted, held_out, steps=limit, seconds=seconds, seed=seed, report=tell
    )
    if done is None:
        raise ConversionError(f"recover: {told[-1]}")
    return done


def _converted_layers(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Return the names of the student's converted layers.

    Raises:
        ConversionError: There are none, or the teacher has no module of that name.
    """
    names = [name for name, layer in student.named_modules() if isinstance(layer, FactoredConv)]
    if not names:
        raise ConversionError(
            "student: has no converted layers. Pass the converted network, such as conversion.model, first and the "
            "original second."
        )
    known = {name for name, _ in teacher.named_modules()}
    if unknown := [name for name in names if name not in known]:
        raise ConversionError(
            f"teacher: must be the network before the conversion, found one without a layer {unknown[0]!r}."
        )
    return names
