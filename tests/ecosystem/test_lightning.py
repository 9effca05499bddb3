"""Conversion and distillation with Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import dsft
from dsft.errors import CheckpointError, ConversionError
from tests.cifar import DATA, load_images
from tests.quick_conversion import convert_quickly, converted_layers
from tests.zoo import Residual, redraw

pytest.importorskip("lightning")
# Other packages warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("default")

from lightning import pytorch as pl  # noqa: E402

from dsft.lightning import ConversionCallback, DistillationModule  # noqa: E402

IMAGES = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(32) % 5


class Classifier(pl.LightningModule):  # type: ignore[misc]
    """A module that knows nothing of dsft."""

    def __init__(self) -> None:
        super().__init__()
        self.model = redraw(Residual())
        self.losses: list[float] = []
        self.outputs: list[Tensor] = []

    def training_step(self, batch: Any, _: int) -> Tensor:
        loss = functional.cross_entropy(self.model(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        self.outputs.append(self.model(batch[0]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def loader(images: Tensor = IMAGES, targets: Tensor = TARGETS) -> Any:
    return DataLoader(TensorDataset(images, targets), batch_size=16)


def trainer(folder: Path, *callbacks: Any, epochs: int = 3) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, callbacks=list(callbacks), default_root_dir=folder, **quiet
    )


def test_a_module_is_converted_trained_and_validated_from_its_checkpoint(tmp_path: Path) -> None:
    module, callback = Classifier(), ConversionCallback(example_input=IMAGES[:1], rank=1)
    fit = trainer(tmp_path, callback)
    fit.fit(module, loader())
    assert callback.plan is not None
    assert converted_layers(module.model) == [layer.name for layer in callback.plan.converted]
    trained = {id(parameter) for group in fit.optimizers[0].param_groups for parameter in group["params"]}
    assert {id(parameter) for parameter in module.parameters()} == trained
    assert module.losses[-1] < module.losses[0]
    fit.save_checkpoint(tmp_path / "last.ckpt")
    fresh = Classifier()
    again = trainer(tmp_path, ConversionCallback.from_checkpoint(tmp_path / "last.ckpt"))
    again.validate(fresh, loader(), ckpt_path=tmp_path / "last.ckpt", verbose=False)
    with torch.no_grad():
        assert torch.equal(torch.cat(fresh.outputs), module.model.eval()(IMAGES))
    dsft.save(fresh.model, tmp_path / "out", plan=callback.plan)
    resumed = Classifier()
    more = trainer(tmp_path, ConversionCallback.from_checkpoint(tmp_path / "last.ckpt"), epochs=5)
    more.fit(resumed, loader(), ckpt_path=tmp_path / "last.ckpt")
    assert (more.current_epoch, len(resumed.losses)) == (5, 4)


def test_a_trained_module_fuses_and_exports(tmp_path: Path) -> None:
    module = Classifier()
    trainer(tmp_path, ConversionCallback(example_input=IMAGES[:1], rank=1), epochs=1).fit(module, loader())
    network: Any = module.model.eval()
    with torch.no_grad():
        expected = network(IMAGES)
        network.stem = torch.nn.utils.fuse_conv_bn_eval(network.stem, network.norm)
        network.norm = nn.Identity()
        torch.testing.assert_close(network(IMAGES), expected, rtol=1e-4, atol=1e-4)
    assert "stem" in converted_layers(network)
    program = torch.export.export(network, (IMAGES,))
    torch.testing.assert_close(program.module()(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_without_the_callback_a_checkpoint_does_not_load_as_dense(tmp_path: Path) -> None:
    fit = trainer(tmp_path, ConversionCallback(example_input=IMAGES[:1], rank=1), epochs=1)
    fit.fit(Classifier(), loader())
    fit.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(RuntimeError, match="Missing key"):
        trainer(tmp_path).validate(Classifier(), loader(), ckpt_path=tmp_path / "last.ckpt")


def test_a_converted_network_is_kept_and_a_rebuilt_one_is_noticed(tmp_path: Path) -> None:
    class Rebuilt(Classifier):
        def on_train_epoch_end(self) -> None:
            self.model = redraw(Residual())

    module = Rebuilt()
    module.model, plan = convert_quickly(module.model, IMAGES[:1])
    with pytest.raises(ConversionError, match=r"has 0 of the 3 converted layers of its plan; 'stem' is not converted"):
        trainer(tmp_path, ConversionCallback(plan), epochs=1).fit(module, loader())
    kept = Classifier()
    kept.model = convert_quickly(kept.model, IMAGES[:1])[0]
    before = kept.model
    trainer(tmp_path, ConversionCallback(plan), epochs=1).fit(kept, loader())
    assert kept.model is before
    with pytest.raises(ConversionError, match=r"is converted already\. Pass its plan"):
        trainer(tmp_path, ConversionCallback(rank=1, example_input=IMAGES[:1])).fit(kept, loader())


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_distillation_on_fifty_images(tmp_path: Path) -> None:
    images, targets = load_images("train", 5)
    teacher = redraw(Residual()).eval()
    teacher.head = nn.Linear(16, 10)
    student, plan = convert_quickly(teacher, images[:1])
    module = DistillationModule(student, teacher, labels=0.25, lr=5e-3)

    class Losses(pl.Callback):  # type: ignore[misc]
        found: list[float] = []  # noqa: RUF012 (of one test)

        def on_train_batch_end(self, *arguments: Any) -> None:
            outputs = arguments[2]
            self.found.append(float(outputs["loss"]))

    reference = {name: value.clone() for name, value in teacher.state_dict().items()}
    fit = trainer(tmp_path, ConversionCallback(plan), Losses())
    fit.fit(module, loader(images, targets))
    assert sum(Losses.found[-4:]) < sum(Losses.found[:4])
    assert not any("teacher" in name for name in module.state_dict())
    assert all(torch.equal(value, reference[name]) for name, value in teacher.state_dict().items())
    dsft.check_converted(module.model, plan)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    fresh = dsft.replay_plan(wide(), plan).eval()
    fresh.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    with torch.no_grad():
        assert torch.equal(fresh(images), module.model.eval()(images))


def wide() -> nn.Module:
    network = Residual()
    network.head = nn.Linear(16, 10)
    return network


def test_without_labels_a_batch_is_the_inputs_alone(tmp_path: Path) -> None:
    teacher = redraw(Residual()).eval()
    module = DistillationModule(convert_quickly(teacher, IMAGES[:1])[0], teacher, labels=0, lr=5e-3)
    with torch.no_grad():
        before = dsft.distillation_loss(module(IMAGES), teacher(IMAGES)).item()
    trainer(tmp_path, epochs=2).fit(module, DataLoader(IMAGES, batch_size=16))  # type: ignore[arg-type]
    with torch.no_grad():
        assert dsft.distillation_loss(module(IMAGES), teacher(IMAGES)).item() < before


def test_misuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"exactly one of plan and the arguments of dsft.convert"):
        ConversionCallback()
    with pytest.raises(
        ConversionError, match=r"expected a network in the attribute 'net' of Classifier, found NoneType"
    ):
        trainer(tmp_path, ConversionCallback(rank=1, network="net")).fit(Classifier(), loader())
    with pytest.raises(ConversionError, match="needs example_input, or example_input_array"):
        trainer(tmp_path, ConversionCallback(rank=1)).fit(Classifier(), loader())
    with pytest.raises(ValueError, match=r"labels: expected a number from 0 to 1, found 2"):
        DistillationModule(Residual(), Residual(), labels=2)
    plain = trainer(tmp_path, epochs=1)
    plain.fit(Classifier(), loader())
    plain.save_checkpoint(tmp_path / "plain.ckpt")
    with pytest.raises(CheckpointError, match="holds no plan"):
        ConversionCallback.from_checkpoint(tmp_path / "plain.ckpt")
    (tmp_path / "broken.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        ConversionCallback.from_checkpoint(tmp_path / "broken.ckpt")
