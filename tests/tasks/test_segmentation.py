from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import Tensor
from torch.nn import functional

from dsft.errors import ModelError
from dsft.tasks import PLAIN_LOSS, SEGMENTATION, Rows

SCORER = SEGMENTATION.scorer
CLASSES = ("sky", "road", "car", "absent")


def draw() -> tuple[Tensor, Tensor]:
    """Return logits and masks without the last class, in which an eighth of the pixels has no class."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 8, 8, generator=generator)
    logits[:, 3] -= 100
    masks = torch.randint(0, 3, (5, 8, 8), generator=generator)
    logits.scatter_add_(1, masks[:, None], torch.ones(5, 1, 8, 8))
    masks[:, 0] = 255
    return logits, masks


def known(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    return logits.argmax(1)[masks != 255], masks[masks != 255]


def test_the_metrics_are_those_of_scikit_learn() -> None:
    logits, masks = draw()
    rows = SCORER.reduce(logits, masks)
    found = SCORER.compute_metrics(*rows, classes=CLASSES, split_name="test", skipped=0, calibrated=None).to_dict()
    predicted, truth = (each.numpy() for each in known(logits, masks))
    iou = jaccard_score(truth, predicted, average=None, labels=[0, 1, 2])
    assert found["per_class_iou"][:3] == pytest.approx(iou)
    assert found["per_class_iou"][3] is None
    assert found["miou"] == pytest.approx(np.mean(iou))
    assert found["pixel_accuracy"] == pytest.approx(np.mean(predicted == truth))
    assert [row["support"] for row in found["per_class"]] == np.bincount(truth, minlength=4).tolist()
    confusion = SCORER.confusion_matrix(*rows)
    np.testing.assert_array_equal(confusion, confusion_matrix(truth, predicted, labels=range(4)))
    loss = functional.cross_entropy(logits, masks, ignore_index=255)
    # Every image has the same number of pixels with a class.
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-6)


def test_rows_of_parts_are_the_rows_of_the_whole() -> None:
    logits, masks = draw()
    whole = SCORER.reduce(logits, masks)
    parts = [SCORER.reduce(logits[place], masks[place]) for place in (slice(0, 2), slice(2, 5))]
    merged = Rows(*(torch.cat(column) for column in zip(*parts, strict=True)))
    assert SCORER.monitored_metrics(*merged) == SCORER.monitored_metrics(*whole)
    assert torch.equal(merged.targets, whole.targets)


def test_agreement_and_margin_are_of_pixels() -> None:
    logits, _ = draw()
    changed = logits + 0.3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    agrees, margin = SCORER.agrees(logits, changed), SCORER.margin(logits)
    assert agrees.shape == margin.shape == (5, 8, 8)
    assert not agrees.all()
    # A change of less than half of the margin keeps the class.
    assert agrees[margin > 2 * (logits - changed).abs().amax(1)].all()


def test_logits_of_another_size_are_an_error_that_says_both() -> None:
    logits, masks = draw()
    with pytest.raises(ModelError, match=r"found \(4, 4\) for masks of \(8, 8\)"):
        SEGMENTATION.objective.label_loss(logits[..., ::2, ::2], masks, PLAIN_LOSS, None)


def test_a_mask_is_written_in_the_size_of_the_image_with_indices() -> None:
    logits, _ = draw()
    picture = SEGMENTATION.view.write_prediction(logits[0], (16, 8))
    assert picture is not None
    assert (picture.size, picture.mode) == ((16, 8), "P")
    np.testing.assert_array_equal(np.asarray(picture), logits[0].argmax(0).numpy().repeat(2, 1))


@pytest.mark.parametrize("size", [(12,), (2, 3, 2)])
def test_signals_and_volumes_are_scored_as_images_of_the_same_samples(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 12, generator=generator)
    targets = torch.randint(0, 3, (4, 12), generator=generator)
    targets[0, :3] = 255
    outputs, _ = SEGMENTATION.codec.split_outputs(logits.reshape(4, 3, *size))
    found = SEGMENTATION.scorer.reduce(outputs, targets.reshape(4, *size))
    expected = SEGMENTATION.scorer.reduce(logits.reshape(4, 3, 3, 4), targets.reshape(4, 3, 4))
    assert torch.equal(found.targets, expected.targets)
    torch.testing.assert_close(found.outputs, expected.outputs)
    image = torch.randn(2, *size, generator=generator)
    pictures = SEGMENTATION.view.pictures(image, outputs[0], targets[0].reshape(size), ("a", "b", "c"))
    assert {picture.shape for picture in pictures.values()} <= {(1, 12), (1, 12, 3), (3, 2), (3, 2, 3)}
    assert len(pictures) == 3
