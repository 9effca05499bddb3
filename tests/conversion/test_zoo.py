"""The conversion's contract on a sample of the libraries' networks; tests/benchmarks/zoo.py runs it on all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dsft.choices import Reason, Structure
from dsft.conversion import Request, plan_conversion
from tests.architectures import all_architectures, build_smallest
from tests.contract import check_contract, check_full_rank
from tests.zoo import Residual, redraw

SAMPLE = (
    "timm/convit_tiny",
    "timm/cpubone_nano",
    "timm/cs3darknet_focus_s",
    "timm/csatv2",
    "timm/cspnext_tiny",
    "timm/dla46x_c",
    "timm/edgenext_xx_small",
    "timm/efficientvit_m0",
    "timm/ese_vovnet19b_slim_dw",
    "timm/fasternet_t0",
    "timm/ghostnet_050",
    "timm/hgnetv2_b0",
    "timm/iformer_t",
    "timm/inception_next_atto",
    "timm/levit_128s",
    "timm/mobilenetv3_small_050",
    "timm/mobilevit_xxs",
    "timm/pit_ti_224",
    "timm/poolformerv2_s12",
    "timm/pvt_v2_b0",
    "timm/regnetx_002",
    "timm/repghostnet_050",
    "timm/resnest14d",
    "timm/skresnet18",
    "timm/starnet_s050",
    "timm/swiftformer_xs",
    "timm/test_byobnet",
    "timm/test_coatnet",
    "timm/test_convnext",
    "timm/test_efficientnet",
    "timm/test_mambaout",
    "timm/test_nfnet",
    "timm/test_resnet",
    "timm/test_vit",
    "timm/test_vit_relpos",
    "timm/tf_efficientnet_lite0",
    "timm/xcit_nano_12_p8_224",
    "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn",
    "torchvision/lraspp_mobilenet_v3_large",
    "torchvision/mc3_18",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/squeezenet1_1",
    "torchvision/ssdlite320_mobilenet_v3_large",
)
LOW_RANK_SAMPLE = (
    "timm/mobilevit_xxs",
    "timm/regnetx_002",
    "timm/test_byobnet",
    "timm/test_nfnet",
    "timm/test_resnet",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/squeezenet1_1",
)
"""Networks whose convolutions of one position are grouped, strided, standardised, or most of what there is."""
SLOW = ("timm/regnetx_002", "torchvision/mc3_18")
"""Networks that take half a minute."""
ARCHITECTURES = {str(architecture): architecture for architecture in all_architectures()}


@pytest.mark.filterwarnings("ignore")  # what the libraries say of themselves
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in SAMPLE]
)
def test_the_contract_holds(name: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]
    model, example, side = build_smallest(architecture)
    checked = check_contract(model, example, lambda: architecture.build(side), tmp_path / "model")
    assert checked.converted or name == "torchvision/mc3_18"


@pytest.mark.filterwarnings("ignore")  # what the libraries say of themselves
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in LOW_RANK_SAMPLE]
)
def test_the_contract_holds_with_low_rank_too(name: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]
    model, example, side = build_smallest(architecture)
    checked = check_contract(model, example, lambda: architecture.build(side), tmp_path / "model", tuple(Structure))
    assert checked.converted
    assert Reason.POINTWISE not in checked.kept


class Blind(nn.Module):
    """A network whose output one of its layers cannot reach."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Conv2d(3, 4, 3)
        self.unseen = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.seen(images) + 0 * self.unseen(images)  # type: ignore[no-any-return]


def test_the_contract_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(1, 3, 16, 16)
    with pytest.raises(AssertionError, match="zeroing unseen leaves the output as it is"):
        check_full_rank(Blind(), images, plan_conversion(Blind(), images, Request(rank="full")))
    model = redraw(Residual()).eval()
    plan = plan_conversion(model, images, Request(rank="full"))
    check_full_rank(model, images, plan)
    monkeypatch.setattr("tests.contract.LAYER_TOLERANCE", 1e-9)
    with pytest.raises(AssertionError, match=r"layer \w+: relative error"):
        check_full_rank(model, images, plan)
