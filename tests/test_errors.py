import pytest

from dsft import errors
from dsft.errors import DsftError, InputError, InterruptedRun, RecipeError, TrainingError, did_you_mean, nearest

INPUT_ERRORS = ["RecipeError", "ModelError", "ConversionError", "DataError", "CheckpointError", "OutputError"]


@pytest.mark.parametrize("name", INPUT_ERRORS)
def test_invalid_input_exits_with_2(name: str) -> None:
    error = getattr(errors, name)("x")
    assert isinstance(error, InputError)
    assert error.exit_code == 2


def test_a_failed_run_exits_with_1() -> None:
    assert TrainingError("x").exit_code == 1
    assert not isinstance(TrainingError("x"), InputError)


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_decides_the_exit_code(number: int, code: int) -> None:
    error = InterruptedRun("saved", number)
    assert error.exit_code == code
    assert str(error) == "saved"
    assert isinstance(error, DsftError)
    assert not isinstance(error, InputError)


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    classes = {c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)}
    assert all(name in str(errors.__doc__) for name in classes)
    assert {"DsftError", RecipeError.__name__} <= classes


def test_the_nearest_names_come_first() -> None:
    assert nearest("resnet81", ["vgg16", "resnet18", "resnet34"])[0] == "resnet18"
    assert nearest("resnet", ["resnet1", "resnet2", "resnet3", "resnet4"], count=2) == ["resnet4", "resnet3"]
    assert nearest("zzz", ["resnet18"]) == []


def test_a_proposal_is_a_sentence_or_nothing() -> None:
    assert did_you_mean("layerdecay", ["layer_decay", "lr"]) == " Did you mean layer_decay?"
    assert did_you_mean("vall", iter(["val", "vall2"])) == " Did you mean vall2 or val?"
    assert did_you_mean("zzz", ["lr"]) == ""
