from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from dsft.errors import InputError
from dsft.tasks import CLASSIFICATION
from dsft.tasks.classification.view import ClassificationView

CLASSIFICATION_VIEW = ClassificationView()
COUNTS = (12, 3, 30, 1)
TARGETS = np.repeat(np.arange(4), COUNTS)


def test_weights_that_even_classes_out_are_scikit_learns_balanced() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(4), y=TARGETS)
    assert CLASSIFICATION.objective.class_weights(COUNTS, len(TARGETS), None) == pytest.approx(list(expected))


def test_given_weights_keep_their_ratios_and_the_size_of_the_loss() -> None:
    weights = CLASSIFICATION.objective.class_weights(COUNTS, len(TARGETS), (1.0, 4.0, 1.0, 0.5))
    assert np.array(weights) / weights[0] == pytest.approx([1.0, 4.0, 1.0, 0.5])
    assert np.mean([weights[target] for target in TARGETS]) == pytest.approx(1.0)


def test_a_prediction_names_the_most_probable_classes() -> None:
    [chosen] = CLASSIFICATION_VIEW.class_selector(2, None)(torch.tensor([[0.0, 2.0, 1.0]]))
    assert chosen.classes == (1, 2)
    assert chosen.probabilities == pytest.approx(np.exp([2.0, 1.0]) / np.exp([0.0, 2.0, 1.0]).sum())
    assert CLASSIFICATION_VIEW.class_selector(None, None)(torch.eye(3))[2].classes == (2,)
    with pytest.raises(InputError, match=r"--threshold: .* found 0\.3\. Use --top-k"):
        CLASSIFICATION_VIEW.class_selector(None, 0.3)
