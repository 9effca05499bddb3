from __future__ import annotations

import pytest

from dsft.assembly import load_folder
from dsft.assembly.network import with_image_size
from dsft.errors import ModelError
from tests.workshop import Workshop


def test_another_image_size(workshop: Workshop) -> None:
    network = load_folder(workshop.dense)
    assert with_image_size(network, None, is_fixed=True) is network
    assert with_image_size(network, 32, is_fixed=True) is network
    larger = with_image_size(network, 48, is_fixed=False)
    assert larger.preprocessing.size == (48, 48)
    assert larger.preprocessing.mean == network.preprocessing.mean
    with pytest.raises(ModelError, match="takes images of 32 pixels only, found 48"):
        with_image_size(network, 48, is_fixed=True)
