from dsft.choices import DataSource
from dsft.recipe.data_sources import DATA_SOURCES, sources_with
from dsft.recipe.sections import DataSection


def test_every_source_has_its_traits() -> None:
    assert list(DATA_SOURCES) == list(DataSource)


def test_a_source_needs_only_keys_that_it_accepts() -> None:
    for traits in DATA_SOURCES.values():
        for group in traits.needs:
            assert all(traits.accepts(key) and key in DataSection.model_fields for key in group)


def test_sources_are_listed_by_the_keys_that_they_accept() -> None:
    assert sources_with("download") == "torchvision or hf"
    assert sources_with("label_separator") == "csv or text"
    assert sources_with("root") == (
        "folder, csv, torchvision, hf, wds, masks, pairs, coco, voc, yolo, audio, arrays, frames, video, volumes or "
        "text"
    )
