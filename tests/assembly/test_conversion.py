from __future__ import annotations

import pytest
import torch

from dsft.assembly import Verb, load_folder, prepare_experiment
from dsft.assembly.conversion import (
    as_converted,
    example_input,
    open_converter,
    read_request,
    require_fitting_input,
)
from dsft.choices import Cost, Decision, Form, Method, Structure
from dsft.conversion import Budget, MaxDrop, Request
from dsft.devices import Compute
from dsft.errors import ConversionError, ModelError
from dsft.progress import ignore
from dsft.recipe import load_recipe
from dsft.recipe.sections import BudgetSection, CalibrationSection, ConvertSection
from tests.workshop import Workshop

CPU = Compute(torch.device("cpu"))


def test_a_section_becomes_a_request() -> None:
    section = ConvertSection(
        method=Method.FRESH,
        form=Form.GATHER,
        budget=BudgetSection(macs=0.5),
        include=["a*"],
        exclude=["b*"],
        norm_between=True,
        structures=[Structure.PW_DW],
    )
    assert read_request(section, 3, is_trained=True) == Request(
        budget=Budget(Cost.MACS, 0.5, batch_size=1),
        method=Method.FRESH,
        form=Form.GATHER,
        include=["a*"],
        exclude=["b*"],
        norm_between=True,
        structures=[Structure.PW_DW],
        seed=3,
    )


def test_a_budget_of_a_section_counts_what_it_says() -> None:
    section = ConvertSection(budget=BudgetSection(params=0.4, batch_size=8, threads=2))
    assert read_request(section, 0, is_trained=True).budget == Budget(Cost.PARAMS, 0.4, batch_size=8, threads=2)
    lost = read_request(ConvertSection(budget=BudgetSection(max_drop=1.0, by=Cost.PARAMS)), 0, is_trained=True)
    assert lost.budget == MaxDrop(1.0, Cost.PARAMS, batch_size=1)


def test_auto_draws_weights_where_there_are_none_to_keep() -> None:
    section = ConvertSection(rank="full")
    assert read_request(section, 0, is_trained=True).method is Method.REFIT
    assert read_request(section, 0, is_trained=False).method is Method.FRESH
    without = ConvertSection(rank="full", calibration=CalibrationSection(images=0))
    assert read_request(without, 0, is_trained=True).method is Method.SVD


def test_images_that_do_not_fit_the_network_are_refused(workshop: Workshop) -> None:
    changes = ["model.source=torchvision", "model.name=squeezenet1_1", "data.image_size=8"]
    with pytest.raises(
        ModelError, match=r"data\.image_size: torchvision/squeezenet1_1 does not accept images of 8 x 8"
    ):
        prepare_experiment(load_recipe(str(workshop.dense_recipe), changes), Verb.TRAIN, ignore)
    network = load_folder(workshop.dense)
    state = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    require_fitting_input(network, CPU)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.module.state_dict().items())


def test_an_example_is_one_black_image_of_the_networks_size(workshop: Workshop) -> None:
    images = example_input(load_folder(workshop.dense).preprocessing, CPU)
    assert torch.equal(images, torch.zeros(1, 3, 32, 32))


def test_a_plan_is_made_and_applied_to_a_copy(workshop: Workshop) -> None:
    network = load_folder(workshop.dense)
    converter = open_converter(network, Request(rank="full", exclude=["conv1.*"]), CPU, ignore)
    plan = converter.plan()
    assert plan.method is Method.SVD
    assert {layer.name for layer in plan.layers if layer.decision is Decision.CONVERTED}
    assert not [layer.name for layer in plan.converted if layer.name.startswith("conv1.")]
    converted = as_converted(network, converter.convert(plan))
    assert (network.plan, converted.plan) == (None, plan)
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(converted.module(images), network.module(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConversionError, match=r"timm/test_resnet: \d+ of its convolutions are converted already"):
        open_converter(converted, Request(rank=1), CPU, ignore)
