from pathlib import Path

import pytest

from dsft.errors import OutputError, RecipeError
from dsft.recipe import copy_recipe, load_recipe, recipes_folder, shipped, shipped_path, shipped_recipes


def test_every_shipped_recipe_says_its_command_and_what_it_does() -> None:
    recipes = shipped_recipes()
    assert {"digits_dense", "quickstart"} <= {recipe.name for recipe in recipes}
    for recipe in recipes:
        assert recipe.verb in {"train", "finetune"}
        assert len(recipe.summary) > 20


@pytest.mark.parametrize("name", [recipe.name for recipe in shipped_recipes()])
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_summary_is_the_comment_after_the_command() -> None:
    by_name = {recipe.name: recipe for recipe in shipped_recipes()}
    assert by_name["quickstart"].verb == "finetune"
    assert by_name["digits_dense"].verb == "train"
    second_line = shipped_path("quickstart").read_text(encoding="utf-8").splitlines()[1]
    assert by_name["quickstart"].summary.startswith(second_line.removeprefix("# "))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'quickstrat' ships with dsft\. Did you mean quickstart\?"):
        shipped_path("quickstrat")


def test_a_copy_is_the_same_recipe_with_a_run_folder_of_its_own(tmp_path: Path) -> None:
    copy = copy_recipe("quickstart", tmp_path / "new" / "mine.yaml", overwrite=False)
    assert copy == tmp_path / "new" / "mine.yaml"
    recipe, source = load_recipe(str(copy)), load_recipe("quickstart")
    assert (recipe.name, recipe.output.dir) == ("mine", "runs/mine")
    assert recipe.model_copy(update={"name": source.name, "output": source.output}) == source
    assert copy.read_text(encoding="utf-8").startswith("# dsft finetune mine.yaml ")


@pytest.mark.parametrize("name", [recipe.name for recipe in shipped_recipes()])
def test_every_recipe_can_be_copied_under_another_name(name: str, tmp_path: Path) -> None:
    assert load_recipe(str(copy_recipe(name, tmp_path / "other.yaml", overwrite=False))).name == "other"


@pytest.mark.parametrize(
    ("file", "name"), [("my run!.yaml", "my-run"), ("2024.yaml", "2024"), ("1e5.yml", "1e5"), ("é.yaml", "quickstart")]
)
def test_the_name_of_a_copy_is_valid_for_any_file_name(file: str, name: str, tmp_path: Path) -> None:
    assert load_recipe(str(copy_recipe("quickstart", tmp_path / file, overwrite=False))).name == name


def test_a_copy_into_a_folder_is_the_same_file(tmp_path: Path) -> None:
    copy = copy_recipe("quickstart", tmp_path, overwrite=False)
    assert copy == tmp_path / "quickstart.yaml"
    assert copy.read_bytes() == (recipes_folder() / "quickstart.yaml").read_bytes()


def test_a_copy_replaces_nothing_unless_allowed(tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    target.write_text("precious", encoding="utf-8")
    with pytest.raises(OutputError, match=r"mine\.yaml' exists\. Choose another name, or .* --overwrite"):
        copy_recipe("quickstart", target, overwrite=False)
    assert target.read_text(encoding="utf-8") == "precious"
    copy_recipe("quickstart", target, overwrite=True)
    assert load_recipe(str(target)).name == "mine"


@pytest.mark.parametrize("first", ["version: 1", "# dsft train other", "# a recipe", ""])
def test_a_recipe_without_its_command_on_top_is_refused(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(first, encoding="utf-8")
    monkeypatch.setattr(shipped, "recipes_folder", lambda: tmp_path)
    with pytest.raises(RecipeError, match=r"mine\.yaml:1  expected the recipe's command, such as '# dsft train"):
        shipped_recipes()


def test_the_file_of_a_builder_comes_with_its_recipe_and_is_found_there(tmp_path: Path) -> None:
    copy_recipe("text_dense", tmp_path / "mine.yaml", overwrite=False)
    builder = load_recipe(str(tmp_path / "mine.yaml")).model.builder
    assert builder == f"{(tmp_path / 'text_cnn.py').as_posix()}:kim2014"
    (tmp_path / "text_cnn.py").write_text("# my own")
    copy_recipe("text_dense", tmp_path / "mine.yaml", overwrite=True)
    assert (tmp_path / "text_cnn.py").read_text() == "# my own"
