"""What a user can get wrong, met on the command line: one clear message, the right exit code, nothing written."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch

from tests.workshop import CLASSES, Workshop, contents, dsft, write_pictures, write_split_pictures

OUT = "output.dir=out"


def refused(*arguments: str | Path, exit_code: int = 2) -> str:
    """Run a command in the working folder that must fail and leave it as it was; return its one message."""
    before = contents(Path())
    done = dsft(*arguments)
    assert done.exit_code == exit_code, done.stderr
    assert done.stdout == ""
    assert contents(Path()) == before
    notes, error, message = done.stderr.partition("error: ")
    assert error, done.stderr
    assert "error: " not in message
    assert "Traceback" not in notes + message
    return message


@pytest.fixture
def changed(workshop: Workshop, here: Path) -> Path:
    """A copy of the dense recipe in the working folder, for tests that break its text."""
    return Path(shutil.copy(workshop.dense_recipe, here / "mine.yaml"))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.usefixtures("here")
class TestMissingFiles:
    def test_recipe(self) -> None:
        assert "no recipe 'nothere.yaml': no such file, and none of that name ships with dsft" in refused(
            "train", "nothere.yaml"
        )

    def test_recipe_with_a_misspelt_shipped_name(self) -> None:
        assert "Did you mean quickstart?" in refused("finetune", "quickstrat")

    def test_folder_of_images(self, workshop: Workshop) -> None:
        message = refused("train", workshop.dense_recipe, OUT, "data.root=nothere")
        assert "data.root 'nothere': must be a folder of images, found nothing" in message

    def test_checkpoint(self, workshop: Workshop) -> None:
        message = refused("finetune", workshop.dense_recipe, OUT, "model.checkpoint=nothere.pth")
        assert "checkpoint 'nothere.pth': must be a weights file, there is no such file" in message

    def test_model_folder(self, workshop: Workshop) -> None:
        message = refused("finetune", workshop.separable_recipe, OUT, "model.path=nothere")
        assert "model folder 'nothere': there is no such folder. Give a folder that dsft wrote" in message

    def test_model_folder_of_a_recipe_that_was_not_run_names_the_command(self) -> None:
        message = refused("finetune", "quickstart")
        assert "no such folder. First run: dsft train digits_dense" in message

    def test_model_folder_to_evaluate(self) -> None:
        assert "model folder 'nothere': there is no such folder" in refused("evaluate", "nothere")

    def test_source_to_convert(self) -> None:
        message = refused("convert", "nothere", "--out", "out", "--rank", "1")
        assert "source 'nothere': expected timm/NAME, torchvision/NAME, a model folder or a weights file" in message


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("source", "near"), [("timm", "resnet10t"), ("torchvision", "resnet101")])
class TestUnknownModels:
    def test_in_a_recipe(self, workshop: Workshop, source: str, near: str) -> None:
        changes = [f"model.source={source}", "model.name=resnet10x"]
        message = refused("train", workshop.dense_recipe, OUT, *changes)
        assert f"{source} has no network called 'resnet10x'. Did you mean" in message
        assert near in message

    def test_to_convert(self, source: str, near: str) -> None:
        message = refused("convert", f"{source}/resnet10x", "--out", "out", "--rank", "1")
        assert "has no network called 'resnet10x'. Did you mean" in message
        assert near in message


class TestRecipeText:
    def test_misspelt_key_has_its_line_and_the_nearest(self, changed: Path) -> None:
        replace(changed, "{lr: 3e-3}", "{lr: 3e-3, weight_dacay: 0}")
        message = refused("train", changed, OUT)
        assert message.startswith("mine.yaml:5  optim.weight_dacay: unknown key. Did you mean optim.weight_decay?")

    def test_unknown_key_lists_the_valid_ones(self, changed: Path) -> None:
        replace(changed, "{lr: 3e-3}", "{fancy: 1}")
        message = refused("train", changed, OUT)
        assert "mine.yaml:5  optim.fancy: unknown key. Valid here: opt, lr, weight_decay" in message

    def test_unknown_section(self, changed: Path) -> None:
        replace(changed, "optim:", "optmi:")
        assert "mine.yaml:5  optmi: unknown key. Did you mean optim?" in refused("train", changed, OUT)

    def test_misspelt_key_on_the_command_line(self, changed: Path) -> None:
        message = refused("train", changed, OUT, "optim.lrr=1")
        assert message.startswith("(command)  optim.lrr: unknown key. Did you mean optim.lr?")

    def test_wrong_types_are_told_together(self, changed: Path) -> None:
        replace(changed, "epochs: 2", "epochs: 20ep")
        message = refused("train", changed, OUT, "optim.lr=fast")
        assert "2 problems:" in message
        assert "mine.yaml:6  schedule.epochs: expected an integer >= 1, found '20ep' (str)" in message
        assert "(command)  optim.lr: expected a number > 0, found 'fast' (str)" in message

    def test_out_of_range(self, changed: Path) -> None:
        message = refused("train", changed, OUT, "data.val.fraction=1.5")
        assert "data.val.fraction: expected a number > 0 and < 1, or null, found 1.5" in message

    def test_duplicate_key(self, changed: Path) -> None:
        replace(changed, "{lr: 3e-3}", "{lr: 3e-3, lr: 1}")
        message = refused("train", changed, OUT)
        assert message.startswith("mine.yaml:5  optim.lr: duplicate key, first given at mine.yaml:5")

    def test_a_small_number_in_scientific_notation_is_no_text(self, changed: Path) -> None:
        replace(changed, "3e-3", "1e-4")
        done = dsft("recipes", "check", changed, "optim.weight_decay=1e-2", "--resolved")
        assert done.exit_code == 0
        assert "\n  lr: 0.0001\n" in done.stdout
        assert "\n  weight_decay: 0.01\n" in done.stdout

    def test_an_impossible_combination(self, changed: Path) -> None:
        message = refused("train", changed, OUT, "model.path=runs/a/model")
        assert "model.path: applies to source dsft only" in message


@pytest.mark.usefixtures("here")
class TestWhatTheNetworkTells:
    """Mistakes that are only seen once the network is built are told before anything is written."""

    def test_unknown_optimizer(self, workshop: Workshop) -> None:
        message = refused("train", workshop.dense_recipe, OUT, "optim.opt=adamwz")
        assert "optim.opt: unknown optimizer, found 'adamwz'. Did you mean adamw" in message

    def test_freeze_pattern_without_a_layer(self, workshop: Workshop) -> None:
        message = refused("train", workshop.dense_recipe, OUT, "freeze=[{until: 1ep, train: [layer9.*]}]")
        assert "freeze.0.train.0: must match a trainable parameter, found 'layer9.*'" in message

    def test_images_too_small_for_the_network(self, workshop: Workshop) -> None:
        changes = ["model.source=torchvision", "model.name=squeezenet1_1", "data.image_size=8"]
        message = refused("train", workshop.dense_recipe, OUT, *changes)
        assert "data.image_size: torchvision/squeezenet1_1 does not accept images of 8 x 8 pixels" in message

    def test_a_network_of_one_image_size(self, workshop: Workshop) -> None:
        message = refused("train", workshop.dense_recipe, OUT, "model.name=vit_tiny_patch16_224")
        assert "takes images of 224 pixels only, found 32" in message

    def test_a_device_that_is_not_there(self, workshop: Workshop) -> None:
        message = refused("train", workshop.dense_recipe, OUT, "train.device=cuda:7")
        assert "this machine has 0 devices of type 'cuda', found 'cuda:7'" in message


@pytest.mark.usefixtures("here")
class TestConversionTargets:
    def test_impossible_budget_names_the_smallest(self, workshop: Workshop) -> None:
        message = refused("finetune", workshop.separable_recipe, OUT, "convert.budget.macs=0.001")
        assert "budget macs=0.001: cannot be met: the smallest that this network allows is 0." in message
        smallest = message.partition("allows is ")[2].split()[0]
        done = dsft("finetune", workshop.separable_recipe, OUT, f"convert.budget.macs={smallest}", "--dry-run")
        assert done.exit_code == 0, done.stderr

    def test_impossible_budget_of_convert(self, workshop: Workshop) -> None:
        message = refused("convert", workshop.dense / "model", "--out", "out", "--budget", "macs=0.001")
        assert "the smallest that this network allows is 0." in message

    def test_neither_budget_nor_rank_in_a_recipe(self, workshop: Workshop) -> None:
        message = refused("finetune", workshop.separable_recipe, OUT, "~convert.budget")
        assert "separable.yaml:4  convert: exactly one of budget and rank is needed, found neither" in message

    def test_both_in_a_recipe(self, workshop: Workshop) -> None:
        message = refused("finetune", workshop.separable_recipe, OUT, "convert.rank=2")
        assert "convert: exactly one of budget and rank is needed, found both" in message
        assert "~convert.budget" in message

    @pytest.mark.parametrize(
        ("options", "found"),
        [
            ([], "exactly one of --budget and --rank is needed, found neither. Add --budget macs=0.5, or --rank 2."),
            (["--budget", "macs=0.5", "--rank", "2"], "exactly one of --budget and --rank is needed, found both."),
            (
                ["--budget", "flops=0.5"],
                "--budget: expected macs=SHARE, params=SHARE, latency=SHARE or max_drop=POINTS, such as",
            ),
            (["--budget", "0.5"], "--budget: expected macs=SHARE"),
            (["--budget", "max_drop=-1"], "a number of at least 0 is needed, found -1.0"),
            (
                ["--budget", "macs=0.5", "--by", "macs"],
                "--by: goes with --budget max_drop=POINTS, found --budget",
            ),
            (
                ["--budget", "macs=0.5", "--data", "x"],
                "--data: expected a folder of images or other inputs, the folder of a run, or a recipe",
            ),
            (["--rank", "1", "--runtime", "onnxruntime"], "--runtime: goes with --budget, found 'onnxruntime' alone"),
            (["--budget", "macs=1.5"], "--budget macs: expected a share above 0 and up to 1, found 1.5"),
            (["--budget", "macs=nan"], "--budget macs: expected a share above 0 and up to 1, found nan"),
            (["--rank", "0"], "a whole number of at least 1, or 'full', is needed, found 0"),
            (["--rank", "-1"], "--rank: expected a whole number of at least 1, or full, found '-1'"),
            (["--rank", "1", "--include", "layer9.*"], "pattern 'layer9.*' matches none"),
        ],
    )
    def test_targets_of_convert(self, workshop: Workshop, options: list[str], found: str) -> None:
        assert found in refused("convert", workshop.dense / "model", "--out", "out", *options)

    def test_changes_of_data_without_data(self, here: Path) -> None:
        torch.save(timm.create_model("test_resnet").state_dict(), here / "own.pth")
        options = ("--model", "timm/test_resnet", "--budget", "macs=0.8", "--dry-run")
        message = refused("convert", "own.pth", *options, "data.image_size=64")
        assert "'data.image_size=64': changes the data, and 'own.pth' comes without any. Name some with" in message

    @pytest.mark.parametrize("seed", ["-1", str(2**32)])
    def test_seeds(self, workshop: Workshop, seed: str) -> None:
        done = dsft("convert", workshop.dense, "--rank", "1", "--dry-run", "--seed", seed)
        assert done.exit_code == 2
        assert "--seed" in done.stderr

    def test_no_output_folder(self, workshop: Workshop) -> None:
        message = refused("convert", workshop.dense / "model", "--rank", "1")
        assert "--out: a folder for the converted model is needed, or --dry-run" in message

    def test_converting_twice(self, workshop: Workshop) -> None:
        converted = workshop.separable / "model"
        message = refused("convert", converted, "--out", "out", "--rank", "1")
        assert "of its convolutions are converted already. Train it further without" in message
        message = refused("finetune", workshop.separable_recipe, OUT, f"model.path={converted}")
        assert "of its convolutions are converted already" in message


class TestImages:
    def test_empty_class_folder(self, workshop: Workshop, here: Path) -> None:
        write_pictures(here / "pictures", dict.fromkeys(CLASSES, 4))
        (here / "pictures" / "dog").mkdir()
        message = refused("train", workshop.dense_recipe, OUT, "data.root=pictures")
        assert "has class folders without images: 'dog'. Fill or remove them" in message

    def test_class_only_in_val(self, workshop: Workshop, here: Path) -> None:
        write_split_pictures(here / "pictures")
        write_pictures(here / "pictures" / "val", {"dog": 2})
        message = refused("train", workshop.dense_recipe, OUT, "data.root=pictures")
        assert "has classes that train does not have: 'dog'. Train has 'ant', 'bee', 'cat'" in message

    def test_no_test_split_beside_a_val_folder(self, workshop: Workshop, here: Path) -> None:
        write_split_pictures(here / "pictures")
        shutil.rmtree(here / "pictures" / "test")
        message = refused("train", workshop.dense_recipe, OUT, "data.root=pictures")
        assert "there is no test split" in message
        assert "evaluate.splits=[val]" in message

    def test_unreadable_training_image_ends_the_run(self, workshop: Workshop, here: Path) -> None:
        write_split_pictures(here / "pictures")
        (here / "pictures" / "train" / "ant" / "000.png").write_bytes(b"no image")
        done = dsft("train", workshop.dense_recipe, OUT, "data.root=pictures")
        assert done.exit_code == 2
        assert done.stdout == ""
        assert "train/ant/000.png' cannot be read as an image" in done.stderr
        assert "data.bad_images=skip" in done.stderr
        # The run had begun, so its folder stays, with its first state and the reason in it and no model.
        assert sorted(path.name for path in (here / "out").iterdir()) == [
            "checkpoints",
            "recipe.yaml",
            "run.json",
            "splits.json",
            "train.log",
        ]
        assert "cannot be read as an image" in (here / "out" / "train.log").read_text(encoding="utf-8")

    def test_unreadable_images_that_are_skipped_are_counted(self, workshop: Workshop, here: Path) -> None:
        write_split_pictures(here / "pictures")
        for split in ("train", "test"):
            (here / "pictures" / split / "ant" / "000.png").write_bytes(b"no image")
        changes = ["data.root=pictures", "data.bad_images=skip"]
        done = dsft("train", workshop.dense_recipe, OUT, *changes, "--json")
        assert done.exit_code == 0, done.stderr
        scores = json.loads(done.stdout)["scores"]["test"]
        assert (scores["count"], scores["skipped"]) == (8, 1)
        rows = (here / "out" / "evaluation" / "test" / "predictions.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) == 1 + 8
        assert not any("ant/000.png" in row for row in rows)
        assert "1 of 18 images of the train split cannot be read and were skipped, such as 'ant/000" in done.stderr

    def test_unreadable_image_to_evaluate(self, workshop: Workshop, here: Path) -> None:
        write_pictures(here / "pictures", dict.fromkeys(CLASSES, 2))
        (here / "pictures" / "cat" / "001.png").write_bytes(b"")
        message = refused("evaluate", workshop.dense, "--data", "pictures", "--out", "scores")
        assert "cat/001.png' cannot be read as an image" in message

    def test_classes_that_the_model_does_not_know(self, workshop: Workshop, here: Path) -> None:
        write_pictures(here / "pictures", {"ant": 2, "dog": 2})
        message = refused("evaluate", workshop.dense, "--data", "pictures", "--out", "scores")
        assert "does not know these classes of the data: dog. It knows ant, bee, cat." in message


class TestCheckpoints:
    def test_one_that_does_not_fit_names_the_keys(self, workshop: Workshop, here: Path) -> None:
        state = timm.create_model("test_resnet", num_classes=3).state_dict()
        state["layer1.0.convX.weight"] = state.pop("layer1.0.conv1.weight")
        state["layer2.0.bn1.bias"] = torch.zeros(5)
        torch.save(state, here / "other.pth")
        message = refused("finetune", workshop.dense_recipe, OUT, "model.checkpoint=other.pth")
        assert "checkpoint 'other.pth' for timm/test_resnet: the weights do not fit the model. " in message
        assert "1 missing: layer1.0.conv1.weight. 1 unexpected: layer1.0.convX.weight. " in message
        assert "1 of another shape: layer2.0.bn1.bias (5,), expected (48,)." in message

    def test_one_that_does_not_fit_to_convert(self, here: Path) -> None:
        torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), here / "own.pth")
        target = ["--out", "out", "--rank", "1"]
        assert "the weights do not fit" in refused("convert", "own.pth", "--model", "timm/resnet10t", *target)
        assert "needs --model timm/NAME or torchvision/NAME" in refused("convert", "own.pth", *target)

    def test_one_that_would_run_code(self, workshop: Workshop, here: Path) -> None:
        torch.save(torch.nn.Linear(2, 2), here / "code.pth")
        message = refused("finetune", workshop.dense_recipe, OUT, "model.checkpoint=code.pth")
        assert "dsft runs no code from a weights file" in message

    def test_a_damaged_model_folder(self, workshop: Workshop, here: Path) -> None:
        shutil.copytree(workshop.dense / "model", here / "model")
        weights = here / "model" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
        assert "is damaged or was changed" in refused("evaluate", "model")

    def test_weights_for_train_and_none_for_finetune(self, workshop: Workshop, here: Path) -> None:
        torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), here / "own.pth")
        assert "Use dsft finetune" in refused("train", workshop.dense_recipe, OUT, "model.checkpoint=own.pth")
        assert "starts from weights, found none" in refused("finetune", workshop.dense_recipe, OUT)


class TestTeachers:
    def test_original_of_other_classes(self, workshop: Workshop, here: Path) -> None:
        write_pictures(here / "pictures", {"dog": 8, "elk": 8})
        message = refused("finetune", workshop.separable_recipe, OUT, "data.root=pictures")
        assert "distill.teacher 'original': the teacher must know the 2 classes of the data" in message
        assert "found 3 classes (ant, bee, cat" in message
        for way_out in ("Fine-tune the dense network", "leave the distill section out", "model.classes=data"):
            assert way_out in message

    def test_folder_of_other_classes(self, workshop: Workshop, here: Path) -> None:
        write_pictures(here / "pictures", {"dog": 8, "elk": 8})
        teacher = workshop.dense / "model"
        message = refused(
            "finetune", workshop.separable_recipe, OUT, "data.root=pictures", f"distill.teacher={teacher}"
        )
        assert f"distill.teacher '{teacher}': the teacher must know the 2 classes of the data" in message

    def test_checkpoint_without_class_names(self, workshop: Workshop, here: Path) -> None:
        torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), here / "own.pth")
        changes = ["model.checkpoint=own.pth", "distill.teacher=original"]
        message = refused("finetune", workshop.dense_recipe, OUT, *changes)
        assert "found unknown class names" in message

    def test_train_has_no_original(self, workshop: Workshop, here: Path) -> None:
        del here
        message = refused("train", workshop.dense_recipe, OUT, "distill.logits=0.5")
        assert "dsft train has no trained original to distill from" in message


class TestOutputs:
    @pytest.mark.parametrize("flags", [(), ("--overwrite",)])
    def test_a_folder_with_other_files(self, workshop: Workshop, here: Path, flags: tuple[str, ...]) -> None:
        (here / "out").mkdir()
        (here / "out" / "thesis.txt").write_text("precious", encoding="utf-8")
        model = workshop.dense / "model"
        assert "out' is not empty, and contains no run" in refused("train", workshop.dense_recipe, OUT, *flags)
        message = refused("convert", model, "--out", "out", "--rank", "1", *flags)
        assert "out' is not empty, and contains no model folder" in message
        assert "out' is not empty, and contains no evaluation" in refused("evaluate", model, "--out", "out", *flags)

    def test_an_earlier_output(self, workshop: Workshop, here: Path) -> None:
        shutil.copytree(workshop.dense, here / "out")
        model = workshop.dense / "model"
        assert "not empty. Choose another folder, or " in refused("train", workshop.dense_recipe, OUT)
        message = refused("convert", model, "--out", "out/model", "--rank", "1")
        assert "replaced with --overwrite" in message

    def test_a_file(self, workshop: Workshop, here: Path) -> None:
        (here / "out").write_text("precious", encoding="utf-8")
        assert "must be a folder, found a file" in refused("train", workshop.dense_recipe, OUT)

    def test_a_run_that_holds_what_is_read(self, workshop: Workshop, here: Path) -> None:
        shutil.copytree(workshop.dense, here / "out")
        changes = ["model.path=out/model", "--overwrite"]
        message = refused("finetune", workshop.separable_recipe, OUT, *changes)
        assert "contains 'out/model', which this command reads" in message
        message = refused("convert", "out/model", "--out", "out/model", "--rank", "1", "--overwrite")
        assert "contains 'out/model', which this command reads" in message

    def test_bad_input_leaves_the_run_that_it_would_replace(self, workshop: Workshop, here: Path) -> None:
        shutil.copytree(workshop.dense, here / "out")
        refused("train", workshop.dense_recipe, OUT, "--overwrite", "optim.opt=adamwz")

    def test_the_weights_of_the_exported_model(self, workshop: Workshop, here: Path) -> None:
        shutil.copytree(workshop.dense / "model", here / "own")
        message = refused("export", "own", "--out", "own/model.safetensors", "--overwrite")
        assert "holds the weights of the model itself. Choose another file" in message

    def test_a_name_of_another_format(self, workshop: Workshop) -> None:
        message = refused("export", workshop.dense, "--out", "net.onnx", "--to", "safetensors")
        assert "--out 'net.onnx': is a name for onnx, and --to says safetensors. Change one of the two." in message

    def test_a_plot_that_is_no_png(self, workshop: Workshop) -> None:
        message = refused("lr-find", workshop.dense_recipe, "--out", "rates.svg")
        assert "--out 'rates.svg': the plot is a PNG file, so the name must end in .png" in message

    def test_words_between_colons_stay(self) -> None:
        assert "'nothere:boom:'" in refused("evaluate", "nothere:boom:")

    def test_a_folder_in_a_file(self, workshop: Workshop, here: Path) -> None:
        (here / "file").touch()
        message = refused("train", workshop.dense_recipe, "output.dir=file/out")
        assert (
            message.strip()
            == f"output 'file/out': {str(here / 'file')!r} is a file, and no folder. Choose another place."
        )
        model = workshop.dense / "model"
        assert "is a file, and no folder" in refused("convert", model, "--rank", "1", "--out", "file/sub/out")
        assert "is a file, and no folder" in refused("export", model, "--out", "file/net.onnx")

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not apply to this user")
    def test_a_folder_without_permission(self, workshop: Workshop, here: Path) -> None:
        (here / "locked").mkdir(mode=0o500)
        message = refused("train", workshop.dense_recipe, "output.dir=locked/sub/out")
        assert message.startswith(f"output 'locked/sub/out': this user may not write to the folder '{here}/locked'")

    def test_the_systems_own_refusal(self, workshop: Workshop) -> None:
        message = refused("train", workshop.dense_recipe, f"output.dir={'x' * 300}", exit_code=1)
        assert message.startswith("the operating system reports: ")


@pytest.fixture
def offline(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and nothing in the caches."""
    monkeypatch.setenv("TORCH_HOME", str(here.parent / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(here.parent / "hub"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("source", ["timm", "torchvision"])
class TestOffline:
    def test_pretrained_weights_fail_soon(self, workshop: Workshop, source: str) -> None:
        started = time.monotonic()
        changes = [f"model.source={source}", "model.name=resnet18", "model.pretrained=true"]
        message = refused("finetune", workshop.dense_recipe, OUT, *changes)
        assert f"model {source}/resnet18: the pretrained weights are not on this machine" in message
        assert "set model.checkpoint=FILE and model.pretrained=false" in message
        assert time.monotonic() - started < 10

    def test_nor_can_they_be_converted(self, source: str) -> None:
        message = refused("convert", f"{source}/resnet18", "--out", "out", "--rank", "1")
        assert f"model {source}/resnet18: the pretrained weights are not on this machine" in message


@pytest.mark.usefixtures("here")
def test_half_an_environment_of_several_processes_is_refused(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = r"RANK: several processes need RANK, WORLD_SIZE, .*, found WORLD_SIZE='2' without RANK and LOCAL_RANK and"
    assert re.search(message, refused("train", workshop.dense_recipe, OUT))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", [("evaluate", "x"), ("lr-find", "x"), ("sweep", "x", "--budgets", "0.5"), ("env",)])
def test_what_cannot_be_shared_is_refused_in_several_processes(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert f"dsft {command[0]}: works in one process, found 2. Start it without torchrun" in refused(*command)
