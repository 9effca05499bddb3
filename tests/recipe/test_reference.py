import json

import pytest

from dsft.recipe import json_schema, recipe_reference, recipes_folder
from dsft.recipe.reference import replace_reference
from dsft.recipe.schema import recipe_schema
from dsft.recipe.sections import DataSection, OptimSection, Recipe


def test_every_key_has_a_row_with_its_type_default_and_description() -> None:
    reference = recipe_reference()
    assert "| `lr` | a number > 0 | `0.001` | Learning rate after warm-up. |" in reference
    assert (
        "| `source` | one of digits, folder, csv, torchvision, hf, wds, masks, pairs, coco, voc, yolo, scenes, "
        "audio, arrays, tones, frames, video, moving_digits, volumes, solids, text | required |" in reference
    )
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


def test_the_readme_of_the_recipes_has_the_current_reference() -> None:
    page = (recipes_folder() / "README.md").read_text(encoding="utf-8")
    assert recipe_reference() in page
    assert replace_reference(page) == page, "out of date; run make reference"


def test_a_reference_is_replaced_between_its_comments() -> None:
    page = replace_reference(
        "a\n<!-- recipe reference: dsft recipes schema -->old<!-- end of the recipe reference -->\nb"
    )
    assert page.startswith("a\n<!-- recipe reference: dsft recipes schema -->\n### Top level\n")
    assert page.endswith("\n<!-- end of the recipe reference -->\nb")
    with pytest.raises(ValueError, match="the document needs the lines"):
        replace_reference("a")


def test_the_json_schema_has_every_key_and_extends() -> None:
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["properties"]) == {"extends", *Recipe.model_fields}
    assert schema["additionalProperties"] is False
    assert "extends" not in recipe_schema()["properties"]
    json.dumps(schema, allow_nan=False)
