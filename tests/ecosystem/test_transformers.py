"""Converted networks of transformers: its files, its Trainer, its pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dsft
from dsft.errors import ModelError
from tests.cifar import DATA, load_images
from tests.quick_conversion import convert_quickly, converted_layers
from tests.zoo import Residual, redraw

pytest.importorskip("transformers")
# Other packages warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("default")

import transformers  # noqa: E402

from dsft.transformers import ConvertedModel  # noqa: E402

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = {place: f"class {place}" for place in range(10)}
SIZES: dict[str, Any] = {"num_channels": 3, "id2label": LABELS, "label2id": {name: key for key, name in LABELS.items()}}


def resnet() -> Any:
    sizes = {"embedding_size": 16, "hidden_sizes": [32, 32, 48, 64], "depths": [1, 1, 2, 1]}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(**SIZES, **sizes))


def regnet() -> Any:
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "groups_width": 8}
    return transformers.RegNetForImageClassification(transformers.RegNetConfig(**SIZES, **sizes))


def convnext() -> Any:
    config = transformers.ConvNextConfig(**SIZES, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1])
    return transformers.ConvNextForImageClassification(config)


NETWORKS: dict[str, Callable[[], Any]] = {
    "resnet": resnet,
    "regnet": regnet,
    "convnext": convnext,
    "resnet-50": lambda: transformers.ResNetForImageClassification(transformers.ResNetConfig(**SIZES)),
    "convnext-tiny": lambda: transformers.ConvNextForImageClassification(transformers.ConvNextConfig(**SIZES)),
}
FULL_SIZE = ("resnet-50", "convnext-tiny")
EACH = [pytest.param(name, marks=pytest.mark.slow if name in FULL_SIZE else ()) for name in NETWORKS]


def converted(name: str = "resnet") -> tuple[Any, Any, dsft.ConversionPlan]:
    """Return the original, the wrapped copy, and its plan. Two kernels per channel, so that there are index buffers."""
    original = redraw(NETWORKS[name]()).eval()
    # ConvNeXt's convolutions are depthwise already, or as large as their stride.
    network, plan = convert_quickly(original, IMAGES, ("pw_dw", "low_rank"), rank=2)
    return original, ConvertedModel.wrap(network, plan).eval(), plan


@pytest.mark.parametrize("name", EACH)
def test_its_own_loaders_give_the_same_outputs(name: str, tmp_path: Path) -> None:
    _, model, plan = converted(name)
    model.save_pretrained(tmp_path / "out")
    loaded = ConvertedModel.from_pretrained(tmp_path / "out")
    automatic = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    expected = [f"network.{layer.name}" for layer in plan.converted]
    with torch.no_grad():
        for each in (loaded, automatic):
            assert converted_layers(each) == expected
            assert torch.equal(each(IMAGES).logits, model(IMAGES).logits)
            assert (each.config.num_labels, each.config.id2label) == (10, LABELS)


def test_without_a_package_of_its_own_the_files_are_refused_and_not_read_as_dense(tmp_path: Path) -> None:
    original, model, _ = converted()
    model.save_pretrained(tmp_path / "out")
    loaded, told = type(original).from_pretrained(
        tmp_path / "out", output_loading_info=True, ignore_mismatched_sizes=True
    )
    del loaded
    assert told["missing_keys"]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
@pytest.mark.parametrize("name", ["resnet", "regnet", *FULL_SIZE])
def test_its_trainer_distils_and_keeps_the_layers(name: str, tmp_path: Path) -> None:
    teacher, model, plan = converted(name)
    images, labels = load_images("train", 5)
    rows = [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]

    class DistillationTrainer(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            outputs = model(**inputs)
            with torch.no_grad():
                expected = teacher(inputs["pixel_values"])
            loss: Tensor = 0.5 * outputs.loss + 0.5 * dsft.distillation_loss(outputs, expected)
            return (loss, outputs) if return_outputs else loss

    arguments = transformers.TrainingArguments(
        output_dir=tmp_path / "run",
        num_train_epochs=3,
        per_device_train_batch_size=10,
        learning_rate=1e-3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        save_strategy="epoch",
        disable_tqdm=True,
    )
    trainer = DistillationTrainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-5:]) < sum(losses[:5])
    dsft.check_converted(trainer.model.network, plan)
    trainer.save_model(tmp_path / "final")
    loaded = ConvertedModel.from_pretrained(tmp_path / "final")
    with torch.no_grad():
        assert torch.equal(loaded(images).logits, trainer.model.eval()(images).logits)
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-15")
    resumed = DistillationTrainer(model=ConvertedModel.from_pretrained(checkpoint), args=arguments, train_dataset=rows)
    resumed.train(resume_from_checkpoint=str(checkpoint))


def test_its_pipeline_predicts(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    _, model, _ = converted()
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0)
    model.save_pretrained(tmp_path / "out")
    processor.save_pretrained(tmp_path / "out")
    picture = pil.new("RGB", (64, 64), (200, 30, 90))
    run = transformers.pipeline("image-classification", model=str(tmp_path / "out"), device="cpu")
    found = run(picture, top_k=1)[0]
    with torch.no_grad():
        scores = model(processor(picture, return_tensors="pt")["pixel_values"]).logits.softmax(1)[0]
    assert found["label"] == LABELS[int(scores.argmax())]
    assert found["score"] == pytest.approx(float(scores.max()), abs=1e-5)


@pytest.mark.parametrize("name", EACH)
def test_a_model_folder_of_dsft_gives_the_same_outputs(name: str, tmp_path: Path) -> None:
    _, model, plan = converted(name)
    dsft.save(model.network, tmp_path / "out", plan=plan)
    loaded: Any = dsft.load(tmp_path / "out", skeleton=NETWORKS[name]())
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES).logits, model(IMAGES).logits)


@pytest.mark.parametrize("name", EACH)
def test_exports(name: str) -> None:
    _, model, _ = converted(name)
    with torch.no_grad():
        program = torch.export.export(model.network, (IMAGES,))
        torch.testing.assert_close(program.module()(IMAGES).logits, model(IMAGES).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "regnet", pytest.param("resnet-50", marks=pytest.mark.slow)])
def test_torch_fuses_its_norms(name: str) -> None:
    _, model, _ = converted(name)
    with torch.no_grad():
        expected = model(IMAGES).logits
        for block in list(model.modules()):
            if hasattr(block, "convolution") and hasattr(block, "normalization"):
                block.convolution = torch.nn.utils.fuse_conv_bn_eval(block.convolution, block.normalization)
                block.normalization = nn.Identity()
        assert not [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
        torch.testing.assert_close(model(IMAGES).logits, expected, rtol=1e-3, atol=1e-3)


def test_the_outputs_are_distilled_as_they_are() -> None:
    original, model, _ = converted()
    loss = dsft.distillation_loss(model(IMAGES, labels=torch.tensor([0, 1])), original(IMAGES))
    expected = dsft.distillation_loss(model(IMAGES).logits, original(IMAGES).logits)
    assert loss.item() == pytest.approx(expected.item())
    outputs = model(IMAGES, labels=torch.tensor([0, 1]))
    assert outputs.loss.item() == pytest.approx(functional.cross_entropy(outputs.logits, torch.tensor([0, 1])).item())


def test_what_cannot_be_built_is_refused(tmp_path: Path) -> None:
    own, plan = convert_quickly(redraw(Residual()).eval(), IMAGES)
    with pytest.raises(ModelError, match=r"expected a network of a class of transformers, found tests.zoo.Residual"):
        ConvertedModel.wrap(own, plan)
    _, model, _ = converted()
    model.save_pretrained(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    config["network"]["architectures"] = ["OldNetForImageClassification"]
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"has no class 'OldNetForImageClassification'.*pip install transformers=="):
        ConvertedModel.from_pretrained(tmp_path / "out")
