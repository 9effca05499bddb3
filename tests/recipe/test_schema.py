from dsft.recipe.document import Place, to_node, to_plain
from dsft.recipe.schema import all_keys, describe, recipe_schema, schema_at, with_defaults
from dsft.recipe.sections import DistillSection, OptimSection, Recipe


def words(key: str) -> str:
    schema = schema_at(tuple(key.split(".")))
    assert schema is not None
    return describe(schema)


def test_types_are_described_in_words() -> None:
    assert {key: words(key) for key in WORDS} == WORDS


WORDS = {
    "version": "1",
    "name": "text such as quickstart or run-2.b",
    "data.workers": "an integer >= 0, or auto",
    "data.val.fraction": "a number > 0 and < 1, or null",
    "data.test.fraction": "a number > 0 and < 1",
    "data.class_weights": "auto, or a map from names to values, each a number > 0, or null",
    "data.download": "true or false",
    "data.root": "text, or null",
    "convert.method": "one of auto, fresh, svd, refit",
    "convert.budget": (
        "a section with the keys macs, params, latency, max_drop, by, runtime, batch_size, threads, or null"
    ),
    "convert.include": "a list, each entry text",
    "freeze.0.train": "a list of at least 1, each entry text",
    "optim.lr_mult": "a map from names to values, each a number > 0",
    "optim.lr_mult.head": "a number > 0",
    "augment.scale": "a list of 2 entries: a number > 0 and <= 1; a number > 0 and <= 1, or null",
}


def test_unknown_keys_have_no_schema() -> None:
    assert schema_at(("optim", "layerdecay")) is None
    assert schema_at(("optim", "lr", "x")) is None
    assert schema_at(("freeze", "x")) is None
    assert schema_at(("optim", "0")) is None
    assert schema_at(("augment", "scale", "2")) is None


def test_all_keys_reach_into_sections() -> None:
    keys = set(all_keys(recipe_schema()))
    assert {("optim",), ("optim", "lr"), ("convert", "budget", "macs")} <= keys


def test_defaults_fill_given_sections_only() -> None:
    place = Place("a.yaml", 3)
    given = {"optim": {"lr": 0.5}, "distill": {}, "freeze": [{"until": "1ep"}], "odd": {"x": 1}}
    filled = to_plain(with_defaults(to_node(given, place), recipe_schema()))
    assert filled["optim"] == OptimSection(lr=0.5).model_dump()
    assert filled["distill"] == DistillSection().model_dump()
    assert filled["freeze"] == [{"until": "1ep", "gradual": False}]
    assert filled["odd"] == {"x": 1}
    assert filled["ema"] is None
    assert filled["evaluate"]["splits"] == ["val", "test"]
    assert set(Recipe.model_fields) - set(filled) == {"version", "name", "model", "data"}


def test_a_default_has_the_place_of_its_section() -> None:
    filled = with_defaults(to_node({"optim": {}}, Place("a.yaml", 7)), recipe_schema())
    assert isinstance(filled.value, dict)
    optim = filled.value["optim"].value
    assert isinstance(optim, dict)
    assert optim["lr"].place == Place("a.yaml", 7)
