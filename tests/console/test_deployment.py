from __future__ import annotations

from dsft.choices import InputKind
from dsft.console import deployment_notes
from dsft.evaluation.deployment import DeployResult
from dsft.tasks import CLASSIFICATION


def test_the_notes_count_what_was_scored() -> None:
    metric = CLASSIFICATION.scorer.layout.main
    for kind, images, counted in [(InputKind.IMAGE, 1, "1 test image;"), (InputKind.SIGNAL, 359, "359 test signals;")]:
        result = DeployResult("run", metric, images, "Some Processor", 1, (), {}, kind)
        assert deployment_notes(result)[0].startswith(counted)
        assert result.to_dict()["kind"] == kind
