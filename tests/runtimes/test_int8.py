from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dsft.choices import ExportFormat
from dsft.commands.check_inputs import CheckInputs
from dsft.commands.export_file import MainOutput, quantize_within
from dsft.compat.openvino import import_quietly, openvino_core
from dsft.errors import DataError, ExportError
from dsft.runtimes import FILE_FORMATS, QUANTIZED_FORMATS, DropLimit, quantize_file, trace_folded, why_unquantizable
from dsft.separable import PointwiseDepthwisePointwiseConv2d
from dsft.tasks import CLASSIFICATION
from tests.zoo import redraw


class Sensitive(nn.Module):
    """Its first layer has weights of very different sizes in one channel, so eight bits lose the small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 3, padding=1)
        self.plain = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        with torch.no_grad():
            self.wide.weight[:, 0] *= 1000  # of a channel that is always 0

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.head(self.plain(self.wide(images).relu()).relu().amax((2, 3)))
        return output


@pytest.fixture(scope="module")
def images() -> Tensor:
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[:, 0] = 0
    return images


@pytest.fixture(scope="module")
def network() -> Sensitive:
    torch.manual_seed(0)
    return Sensitive().eval()


def write(form: ExportFormat, network: nn.Module, images: Tensor, folder: Path) -> tuple[ExportedProgram, Path]:
    """Write the float32 file of a format that can be quantized here."""
    if (reason := why_unquantizable(form)) is not None:
        pytest.skip(reason)
    _, file_format = FILE_FORMATS[form]
    path = folder / f"float32{file_format.suffix}"
    example = images[:2] if file_format.has_dynamic_batch else images[:1]
    program, _ = trace_folded(network, example, dynamic_batch=file_format.has_dynamic_batch)
    file_format.write(program, path, "logits")
    return program, path


@pytest.mark.parametrize("form", QUANTIZED_FORMATS)
def test_layers_that_lose_much_stay_in_float32_until_the_limit_is_met(
    form: ExportFormat, network: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    written = write(form, network, images, tmp_path)
    _, file_format = FILE_FORMATS[form]
    with torch.inference_mode():
        expected = network(images)

    def score(outputs: Tensor, positions: Sequence[int]) -> float:
        return 1 - float((outputs - expected[list(positions)]).abs().max() / expected.abs().max())

    def loss(limit: DropLimit | None) -> tuple[float, tuple[str, ...]]:
        target = tmp_path / f"int8{file_format.suffix}"
        kept = quantize_file(form, written[0], "logits", target, [images], limit)
        return 1 - score(file_format.load(target, 1)(images), range(len(images))), kept

    without_limit, nothing_kept = loss(None)
    limited, kept = loss(DropLimit(score, 0.1))
    assert (without_limit > 0.1, nothing_kept) == (True, ())
    assert limited <= 0.1
    assert 1 <= len(kept) < 3
    if form is not ExportFormat.OPENVINO:  # which does not record the names of the modules
        assert kept[0] == "wide"


def test_the_accuracy_on_the_calibration_images_is_the_limit_of_the_commands(
    network: Sensitive, images: Tensor, tmp_path: Path
) -> None:
    balanced = copy.deepcopy(network)
    with torch.no_grad():  # all classes are predicted, so the error of the first layer changes some predictions
        balanced.head.bias.sub_(network(images).mean(0))
        outputs = balanced(images)
    wrapped = MainOutput(balanced, CLASSIFICATION).eval()
    given = CheckInputs([], None, [images], outputs.argmax(1))
    files = (write(ExportFormat.ONNX, wrapped, images, tmp_path)[0], tmp_path / "int8.onnx")
    assert quantize_within(ExportFormat.ONNX, *files, CLASSIFICATION, given, 100) == ()
    assert quantize_within(ExportFormat.ONNX, *files, CLASSIFICATION, given, 0)[0] == "wide"
    with pytest.raises(DataError, match="--max-drop 0: limits the loss of top-1, and a model without a class table"):
        quantize_within(ExportFormat.ONNX, *files, CLASSIFICATION, CheckInputs([], None, [images]), 0)


class Outlying(nn.Module):
    """The first channel of an image has a feature of its own, which the output has no use for unless told so."""

    def __init__(self, *, used: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.first.weight[1:, 0] = 0
            self.head.weight[:, 0] *= used

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.head(self.first(images).relu()).mean((2, 3))
        return output


@pytest.mark.parametrize(("used", "better"), [(True, "MINMAX"), (False, "MEAN_MINMAX")])
def test_the_ranges_with_the_smaller_error_are_kept(*, used: bool, better: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Outlying(used=used).eval()
    outlying = torch.randn(16, 3, 8, 8)
    outlying[0, 0] *= 50
    written = write(ExportFormat.OPENVINO, network, outlying, tmp_path)
    kept = quantize_file(ExportFormat.OPENVINO, written[0], "logits", tmp_path / "int8.xml", [outlying])
    load = FILE_FORMATS[ExportFormat.OPENVINO][1].load
    with torch.inference_mode():
        expected = network(outlying)

    def error(path: Path) -> float:
        return float((load(path, 1)(outlying) - expected).square().mean())

    nncf, openvino = import_quietly("nncf"), import_quietly("openvino")
    errors = {}
    for name in ("MINMAX", "MEAN_MINMAX"):
        ranges = getattr(nncf.quantization.range_estimator.RangeEstimatorParametersSet, name)
        made = nncf.quantize(
            openvino_core().read_model(str(written[1])),
            nncf.Dataset([image.numpy() for image in torch.split(outlying, 1)]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=16,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges, disable_bias_correction=True
            ),
        )
        openvino.save_model(made, str(tmp_path / f"{name}.xml"), compress_to_fp16=False)
        errors[name] = error(tmp_path / f"{name}.xml")
    assert kept == ()
    assert min(errors, key=lambda name: errors[name]) == better
    assert error(tmp_path / "int8.xml") == errors[better] < 0.8 * max(errors.values())


@pytest.mark.parametrize("form", QUANTIZED_FORMATS)
def test_one_image_gives_what_it_gives_in_a_batch(form: ExportFormat, images: Tensor, tmp_path: Path) -> None:
    # Its depthwise convolution has one pixel, of which OpenVINO took the scales for those of a batch.
    torch.manual_seed(0)
    layer = PointwiseDepthwisePointwiseConv2d(16, 4, 3, padding=1, kernels=192)
    network = nn.Sequential(nn.Conv2d(3, 16, 8), nn.ReLU(), redraw(layer)).eval()
    given = torch.randn_like(images)
    written = write(form, network, given, tmp_path)
    target = tmp_path / f"int8{written[1].suffix}"
    quantize_file(form, written[0], "logits", target, [given])
    run = FILE_FORMATS[form][1].load(target, 1)
    alone = torch.cat([run(image).clone() for image in torch.split(given, 1)])
    with torch.inference_mode():
        expected = network(given)
    torch.testing.assert_close(alone, run(given), rtol=0, atol=1e-2 * float(expected.abs().max()))
    assert (alone - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize(("form", "tool"), [(ExportFormat.ONNX, "NNCF"), (ExportFormat.EXECUTORCH, "torchao")])
def test_a_score_that_fails_is_an_error_of_the_export(
    form: ExportFormat, tool: str, network: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    written = write(form, network, images, tmp_path)
    target = tmp_path / f"int8{written[1].suffix}"

    def fail(outputs: Tensor, positions: Sequence[int]) -> float:
        raise ValueError(f"no score for {outputs.shape} at {positions}")

    with pytest.raises(ExportError, match=rf"{tool} cannot quantize the network \(ValueError: no score for"):
        quantize_file(form, written[0], "logits", target, [images], DropLimit(fail, 0.1))


def test_a_file_has_no_paths_of_the_machine_that_wrote_it(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    _, path = write(ExportFormat.ONNX, network, images, tmp_path)
    assert b"forward" not in path.read_bytes()
