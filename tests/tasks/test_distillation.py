from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch.nn import functional

import dsft
from dsft.errors import ModelError

STUDENT, TEACHER = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5, requires_grad=True)


def test_is_the_divergence_of_softened_classes() -> None:
    log_student, log_teacher = (each.double().div(3).log_softmax(1) for each in (STUDENT, TEACHER))
    expected = 9 * functional.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")
    found = dsft.distillation_loss(STUDENT, TEACHER, temperature=3)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.autograd.backward(found)
    assert STUDENT.grad is not None
    assert TEACHER.grad is None
    assert dsft.distillation_loss(TEACHER, TEACHER).item() == pytest.approx(0, abs=1e-6)


def test_takes_outputs_with_names_and_a_loss_beside_them() -> None:
    output = OrderedDict(loss=torch.tensor(2.0), logits=STUDENT)  # as transformers' networks return it
    found = dsft.distillation_loss(output, {"logits": TEACHER, "hidden_states": None})
    assert torch.equal(found, dsft.distillation_loss(STUDENT, TEACHER))


@pytest.mark.parametrize(
    ("task", "shape"), [("multi_label", (4, 3)), ("segmentation", (2, 3, 4, 4)), ("restoration", (2, 3, 4, 4))]
)
def test_other_tasks(task: str, shape: tuple[int, ...]) -> None:
    student, teacher = torch.randn(shape, requires_grad=True), torch.randn(shape)
    loss = dsft.distillation_loss(student, teacher, task=task)
    (gradient,) = torch.autograd.grad(loss, student)
    closer = student.detach() - 1e-2 * gradient / gradient.norm()
    assert dsft.distillation_loss(closer, teacher, task=task).item() < loss.item()
    assert dsft.distillation_loss(teacher, teacher, task=task).item() == pytest.approx(0, abs=1e-6)
    if task == "restoration":
        assert loss.item() == pytest.approx(functional.mse_loss(student, teacher).item())


def test_misuse_is_refused() -> None:
    with pytest.raises(ModelError, match=r"outputs of one shape, found \(6, 5\) and \(6, 4\)"):
        dsft.distillation_loss(STUDENT, TEACHER[:, :4])
    with pytest.raises(ModelError, match=r"task: expected one of .* Did you mean classification"):
        dsft.distillation_loss(STUDENT, TEACHER, task="clasification")
    with pytest.raises(ModelError, match="a classifier must return logits"):
        dsft.distillation_loss([STUDENT], TEACHER)
    with pytest.raises(ValueError, match="temperature: expected a number above 0, found 0"):
        dsft.distillation_loss(STUDENT, TEACHER, temperature=0)
