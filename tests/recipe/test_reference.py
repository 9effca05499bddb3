import json

from dsft.recipe import json_schema, recipe_reference
from dsft.recipe.schema import recipe_schema
from dsft.recipe.sections import DataSection, OptimSection, Recipe


def test_every_key_has_a_row_with_its_type_default_and_description() -> None:
    reference = recipe_reference()
    assert "| `lr` | a number > 0 | `0.001` | Learning rate after warm-up. |" in reference
    assert "| `source` | one of digits, folder, csv, torchvision, hf, wds | needed |" in reference
    for key in (*OptimSection.model_fields, *DataSection.model_fields):
        assert f"| `{key}` |" in reference or f"### `data.{key}`" in reference


def test_every_section_has_a_heading() -> None:
    headings = [line for line in recipe_reference().splitlines() if line.startswith("### ")]
    assert headings[0] == "### Top level"
    assert {"### `optim`", "### `convert.budget`", "### `freeze`", "### `data.val`"} <= set(headings)
    assert len(headings) == len(set(headings))


def test_rows_are_whole_lines_of_four_cells() -> None:
    rows = [line for line in recipe_reference().splitlines() if line.startswith("|")]
    assert len(rows) > 50
    assert all(line.count(" | ") == 3 and line.endswith("|") for line in rows)


def test_the_json_schema_has_every_key_and_extends() -> None:
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["properties"]) == {"extends", *Recipe.model_fields}
    assert schema["additionalProperties"] is False
    assert "extends" not in recipe_schema()["properties"]
    json.dumps(schema, allow_nan=False)
