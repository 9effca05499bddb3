from pathlib import Path

import pytest
import yaml

from dsft.choices import DataSource, Method, ModelSource, SplitName
from dsft.errors import RecipeError
from dsft.recipe import dump_recipe, load_recipe, shipped_recipes

SMALL = """\
version: 1
name: small
model: {source: timm, name: resnet18}
data:
  source: digits
optim:
  lr: 1e-3
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def complaint(reference: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(reference, overrides)
    return str(caught.value)


def complaint_about(text: str, *overrides: str) -> str:
    return complaint(write("a.yaml", text), *overrides)


def test_values_defaults_and_references_come_together() -> None:
    recipe = load_recipe(write("a.yaml", SMALL))
    assert recipe.model.source is ModelSource.TIMM
    assert recipe.data.source is DataSource.DIGITS
    assert recipe.optim.lr == 1e-3
    assert recipe.optim.opt == "adamw"
    assert recipe.evaluate.splits == [SplitName.VAL, SplitName.TEST]
    assert recipe.output.dir == "runs/small"
    assert recipe.convert is None


def test_words_numbers_and_pairs_arrive_as_what_they_are() -> None:
    text = SMALL + "augment: {scale: [0.5, 1]}\nconvert: {method: svd, rank: full}\ntrain: {amp: none}\n"
    recipe = load_recipe(write("a.yaml", text), ["schedule.warmup_epochs=2", "data.workers=08"])
    assert recipe.augment.scale == (0.5, 1.0)
    assert recipe.convert is not None
    assert recipe.convert.method is Method.SVD
    assert recipe.convert.rank == "full"
    assert recipe.data.workers == 8
    assert recipe.schedule.warmup_epochs == 2.0
    assert isinstance(recipe.schedule.warmup_epochs, float)


def test_precedence_is_defaults_extends_recipe_overrides() -> None:
    write("base/first.yaml", SMALL + "schedule: {epochs: 3, min_lr: 1e-6, sched: poly}\n")
    write("base/second.yaml", "extends: first.yaml\nschedule: {epochs: 4, min_lr: 1e-5}\n")
    top = write("top.yaml", "extends: base/second.yaml\nname: top\nschedule: {epochs: 5}\n")
    schedule = load_recipe(top, ["schedule.decay_rate=0.5"]).schedule
    assert (schedule.sched, schedule.min_lr, schedule.epochs) == ("poly", 1e-5, 5)
    assert (schedule.decay_rate, schedule.warmup_lr) == (0.5, 1e-6)
    assert load_recipe(top, ["schedule.epochs=6"]).schedule.epochs == 6
    assert load_recipe(top).output.dir == "runs/top"


def test_a_recipe_can_extend_a_shipped_one() -> None:
    recipe = load_recipe(write("a.yaml", "extends: quickstart\nname: mine\nema: null\n"))
    shipped = load_recipe("quickstart")
    assert recipe.name == "mine"
    assert recipe.ema is None
    assert recipe.convert == shipped.convert


def test_overrides_create_sections_and_remove_keys() -> None:
    name = write("a.yaml", SMALL)
    recipe = load_recipe(name, ["ema.decay=0.99", "convert.budget.macs=0.5", "optim.weight-decay=0"])
    assert recipe.ema is not None
    assert recipe.ema.decay == 0.99
    assert recipe.convert is not None
    assert recipe.convert.budget is not None
    assert recipe.convert.budget.macs == 0.5
    assert recipe.optim.weight_decay == 0
    assert load_recipe(name, ["~optim.lr", "optim.lr=2", "~optim"]).optim.lr == 1e-3


def test_a_budget_gives_way_to_a_rank_only_where_it_is_removed() -> None:
    recipe = load_recipe("quickstart", ["convert.rank=2", "~convert.budget"])
    assert recipe.convert is not None
    assert recipe.convert.rank == 2
    assert complaint("quickstart", "convert.rank=2").startswith("(command)  convert: exactly one of budget")


@pytest.mark.parametrize("name", [recipe.name for recipe in shipped_recipes()])
def test_a_dumped_recipe_reads_back_equal(name: str) -> None:
    recipe = load_recipe(name)
    assert load_recipe(write("copy.yaml", dump_recipe(recipe))) == recipe


def test_a_dump_keeps_text_that_looks_like_something_else() -> None:
    overrides = [
        'model.name="1e-4"', 'data.seed=7', 'optim.opt="on"', 'output.dir="$${name} größe # x: y\\n"',
        "model.checkpoint='null'", "model.classes=['08', '', ' a ', '*b', '\u2028']",
    ]  # fmt: skip
    recipe = load_recipe(write("a.yaml", SMALL), overrides)
    assert recipe.output.dir == "${name} größe # x: y\n"
    dumped = dump_recipe(recipe)
    assert load_recipe(write("copy.yaml", dumped)) == recipe
    assert yaml.safe_load(dumped)["name"] == "small"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optim: {layer-decay: 0.7}", "a.yaml:8  optim.layer-decay: unknown key. Did you mean optim.layer_decay?"),
        ("optim: {weigth_decay: 0.7}", "a.yaml:8  optim.weigth_decay: unknown key. Did you mean optim.weight_deca"),
        ("train: {lr: 1}", "a.yaml:8  train.lr: unknown key. Did you mean optim.lr?"),
        ("epochs: 3", "a.yaml:8  epochs: unknown key. Did you mean schedule.epochs?"),
        ("seed: 3", "a.yaml:8  seed: unknown key. Did you mean data.seed or train.seed?"),
        ("optm: {lr: 1}", "a.yaml:8  optm: unknown key. Did you mean optim?"),
        ("zzz: 3", "a.yaml:8  zzz: unknown key. Valid here: version, name, task, model,"),
        ("freeze: [{until: 1ep, train: [a], x: 1}]", "a.yaml:8  freeze.0.x: unknown key. Valid here: until, train, "),
        ("schedule: {epochs: 20ep}", "a.yaml:8  schedule.epochs: expected an integer >= 1, found '20ep' (str)."),
        ("schedule: {epochs: '20'}", "expected an integer >= 1, found '20' (str). Write it without quotes."),
        ("schedule: {epochs: true}", "schedule.epochs: expected an integer >= 1, found true (bool)."),
        ("schedule: {epochs: 20.0}", "schedule.epochs: expected an integer >= 1, found 20.0 (float)."),
        ("schedule: {epochs: 0}", "schedule.epochs: expected an integer >= 1, found 0 (int)."),
        ("schedule: {epochs: }", "schedule.epochs: expected an integer >= 1, found null."),
        ("schedule: {epochs: [1]}", "schedule.epochs: expected an integer >= 1, found [1] (list)."),
        ("schedule: {min_lr: .nan}", "expected a number >= 0, found nan (float). It must be finite."),
        ("schedule: {min_lr: .inf}", "expected a number >= 0, found inf (float). It must be finite."),
        ("schedule: {min_lr: 1e999}", "expected a number >= 0, found inf (float). It must be finite."),
        ("schedule: {min_lr: nan}", "expected a number >= 0, found 'nan' (str)."),
        ("schedule: {min_lr: true}", "expected a number >= 0, found true (bool)."),
        ("schedule: {sched: cosin}", "found 'cosin' (str). Did you mean cosine?"),
        ("schedule: 3", "schedule: expected a section with the keys sched, epochs, "),
        ("schedule:", "warmup_lr, min_lr, decay_epochs, decay_rate, found null."),
        ("train: {seed: -1}", "train.seed: expected an integer >= 0 and < 4294967296, found -1 (int)."),
        ("train: {deterministic: on}", "train.deterministic: expected true or false, found 'on' (str)."),
        ("augment: {scale: [0.5]}", "augment.scale: expected a list of 2 entries: a number > 0 and <= 1; a "),
        ("augment: {scale: [0.5, 2]}", "augment.scale.1: expected a number > 0 and <= 1, found 2 (int)."),
        ("augment: {scale: [1.0, 0.5]}", "augment.scale: the smaller fraction comes first, found [1.0, 0.5] (list)."),
        ("evaluate: {splits: [val, tset]}", "evaluate.splits.1: expected one of train, val, test, found 'tset' (st"),
        ("evaluate: {splits: val}", "evaluate.splits: expected a list, each entry one of train, val, test, found 'v"),
        ("freeze: [{until: 3, train: [head]}]", "freeze.0.until: expected text such as 1ep or 200it, found 3 (int)."),
        ("freeze: [{until: 3h, train: [head]}]", "freeze.0.until: expected text such as 1ep or 200it, found '3h' (s"),
        ("freeze: [{until: 3ep}]", "a.yaml:8  freeze.0.train: missing, expected a list of at least 1, each entry t"),
        ("convert: {}", "a.yaml:8  convert: exactly one of budget and rank is needed, found neither. Add budget"),
        ("convert: {rank: 2, budget: {macs: 1}}", "convert: exactly one of budget and rank is needed, found both."),
        ("convert: {rank: 0}", "convert.rank: expected an integer >= 1, or full, or null, found 0 (int)."),
        ("convert: {budget: {macs: 0}}", "convert.budget.macs: expected a number > 0 and <= 1, or null, found 0 (int)"),
        ("convert: {budget: {macs: 50}}", "<= 1, or null, found 50 (int). For 50 % write 0.5."),
        ("convert: {rank: 2, include: '*'}", "convert.include: expected a list, each entry text, found '*' (str)."),
        ("schedule: {warmup_epochs: 10}", "under schedule.epochs (10), such as schedule.warmup_epochs=0, found 10 (i"),
        ("schedule: {sched: step}", "a.yaml:8  schedule.decay_epochs: sched step needs one number."),
        ("output: {dir: '${nmae}'}", "a.yaml:8  output.dir: ${nmae} is not a key of this recipe. Did you mean nam"),
        ("output: {dir: '${env:DSFT_NOT_SET}'}", "output.dir: the environment variable 'DSFT_NOT_SET' is not set."),
        ("train: {seed: '${data.source}'}", "train.seed: expected an integer >= 0 and < 4294967296, found 'digits'"),
        ("name: again", "a.yaml:8  name: duplicate key, first given at a.yaml:2. Remove one of them."),
        ("train: {seed: !!python/name:x 1}", "a.yaml:8  train.seed: the tag !!python/name:x is not allowed"),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_line(line: str, message: str) -> None:
    text = SMALL.replace("optim:\n  lr: 1e-3\n", "# ...\n# ...\n") if line.startswith("optim:") else SMALL
    found = complaint_about(text + line + "\n")
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1\n", "", "a.yaml:1  version: missing, expected 1."),
        ("version: 1\n", "version: 2\n", "a.yaml:1  version: expected 1, found 2 (int)."),
        ("version: 1\n", "version: true\n", "a.yaml:1  version: expected 1, found true (bool)."),
        ("name: small\n", "", "a.yaml:1  name: missing, expected text such as quickstart or run-2.b."),
        ("name: small\n", "name: my run\n", "a.yaml:2  name: expected text such as quickstart or run-2.b, found"),
        ("name: small\n", "name: ../x\n", "a.yaml:2  name: expected text such as quickstart or run-2.b, found"),
        ("name: small\n", "name: 2024\n", "a.yaml:2  name: expected text such as quickstart or run-2.b, found 2024"),
        ("source: timm", "source: tim", "a.yaml:3  model.source: expected one of timm, torchvision, smp,"),
        (", name: resnet18", "", "a.yaml:3  model.name: source timm requires the name of a network, such as resnet18."),
        ("source: timm", "source: dsft", "a.yaml:3  model.path: source dsft requires a model folder, such as runs/"),
        ("name: resnet18", "name: x, path: y", "model.path: applies to source dsft only; set checkpoint for a weights"),
        ("source: digits", "source: folder", "a.yaml:4  data.root: source folder needs a folder with"),
        ("source: digits", "source: digits\n  root: x", "a.yaml:6  data.root: requires source folder, csv, torch"),
        ("  source: digits", "  seed: 1", "a.yaml:4  data.source: missing, expected one of digits, folder, csv, tor"),
        ("  source: digits", "", "a.yaml:4  data: expected a section with the keys source, root, "),
    ],
)  # fmt: skip
def test_missing_keys_are_named(old: str, new: str, message: str) -> None:
    found = complaint_about(SMALL.replace(old, new))
    assert message in found
    assert "\n" not in found


def test_rules_of_several_keys_have_the_place_of_their_section() -> None:
    found = complaint_about(SMALL.replace("digits", "digits\n  val: {fraction: 0.5}\n  test: {fraction: 0.6}"))
    assert found == "a.yaml:4  data: the sum of val.fraction and test.fraction must be less than 1, found 0.5 and 0.6."


def test_all_problems_are_reported_in_the_order_of_files_and_lines() -> None:
    write("base.yaml", "version: 1\nmodel: {source: tim, name: x}\ntrain:\n  seed: x\n  sed: 1\n")
    text = "extends: base.yaml\nname: a\ndata: {source: digits}\nlog: {progress: loud}\nema: {decay: 1}\nema: {}\n"
    found = complaint_about(text, "optim.lr=0", "nonsense", "ema.dacay=1")
    assert found.splitlines() == [
        "9 problems:",
        "a.yaml:4  log.progress: expected one of auto, rich, plain, off, found 'loud' (str).",
        "a.yaml:5  ema.decay: expected a number > 0 and < 1, found 1 (int).",
        "a.yaml:6  ema: duplicate key, first given at a.yaml:5. Remove one of them.",
        "base.yaml:2  model.source: expected one of timm, torchvision, smp, transformers, dsft, builtin, python, found "
        "'tim' (str). Did you mean timm?",
        "base.yaml:4  train.seed: expected an integer >= 0 and < 4294967296, found 'x' (str).",
        "base.yaml:5  train.sed: unknown key. Did you mean train.seed?",
        "(command)  optim.lr: expected a number > 0, found 0 (int).",
        "(command)  expected section.key=value to set a key, or ~section.key to remove one, found 'nonsense'.",
        "(command)  ema.dacay: unknown key. Did you mean ema.decay?",
    ]


def test_a_recipe_without_a_name_has_one_problem_not_one_for_every_use() -> None:
    text = SMALL.replace("name: small", "log: {}").replace("data:", "output: {dir: 'x/${name}'}\ndata:")
    assert complaint_about(text) == "a.yaml:1  name: missing, expected text such as quickstart or run-2.b."


def test_an_error_in_an_override_has_the_place_of_the_command() -> None:
    name = write("a.yaml", SMALL)
    assert complaint(name, "schedule.epochs=20ep") == (
        "(command)  schedule.epochs: expected an integer >= 1, found '20ep' (str)."
    )
    assert complaint(name, "data.root=x").startswith("(command)  data.root: requires source folder, csv")
    assert complaint(name, "data.val.fraction=0.9").startswith("(command)  data: the sum of val.fraction and")
    assert complaint(name, "ema.decya=1").startswith("(command)  ema.decya: unknown key. Did you mean ema.decay?")


def test_a_missing_recipe_names_the_nearest() -> None:
    write("recipes/mine.yaml", SMALL)
    assert complaint("quickstrat") == (
        "no recipe 'quickstrat': no such file, and none of that name ships with dsft. Did you mean quickstart?"
    )
    mine = str(Path("recipes", "mine.yaml"))
    assert complaint("recipes/mien.yaml").endswith(f"Did you mean {mine}?")
    assert complaint("recipes/mine").endswith(f"Did you mean {mine}?")
    assert complaint(str(Path("recipes/mien.yml").resolve())).endswith(f"Did you mean {Path(mine).resolve()}?")
    assert "Did you mean" not in complaint("zzz")


def test_a_file_precedes_a_shipped_recipe_and_a_folder_follows_it() -> None:
    Path("quickstart").mkdir()
    assert load_recipe("quickstart").name == "quickstart"
    Path("quickstart").rmdir()
    assert load_recipe(write("quickstart", SMALL)).name == "small"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.yaml: the recipe is empty\. 'dsft recipes cp quickstart' copies one to start from\."),
        (b"# only a comment\n", r"a\.yaml: the recipe is empty"),
        (b"# x\n- a\n- b\n", r"^a\.yaml:2  expected sections at the top level, found a list\.$"),
        (b"hello\n", r"^a\.yaml:1  expected sections at the top level, found 'hello'\.$"),
        (b"path,label\n" * 99, r"expected sections at the top level, found '(path,label ?)+\S*\.\.\.\.$"),
        (b"version: 1\noptim:\n\tlr: 1\n", r"^a\.yaml:3  not valid YAML .*Use spaces, not tabs\.$"),
        (b"name: caf\xe9\n", r"^a\.yaml: not UTF-8 text, found byte 0xe9 at position 9\. Save the file as UTF-8\.$"),
        ("version: 1\n".encode("utf-16"), r"^a\.yaml: not UTF-8 text, found byte 0xff at position 0"),
        (b"name: [\n", r"^a\.yaml:2  not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes, message: str) -> None:
    Path("a.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        load_recipe("a.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(workplace: Path) -> None:
    (workplace / "a.yaml").write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load_recipe(str(workplace / "a.yaml")).name == "small"
    assert complaint("a.yaml", "~name").startswith("a.yaml:1  name: missing")


def test_a_folder_is_no_recipe() -> None:
    Path("runs").mkdir()
    rule = "a recipe is a YAML file or the folder of a run, found the folder"
    assert complaint("runs") == f"{rule} 'runs' without recipe.yaml."
    assert complaint("") == f"{rule} '' without recipe.yaml."


def test_a_name_that_no_file_can_have_is_no_recipe() -> None:
    assert complaint("x" * 5000).startswith("recipe 'xxx")
    assert complaint("a\0b").startswith("no recipe 'a\\x00b'")
    assert complaint("zzzzzz").endswith("dsft recipes ls lists those that do.")


def test_extending_a_missing_recipe_is_reported_with_its_line() -> None:
    found = complaint_about("version: 1\nextends: quickstrat\n")
    assert found.startswith("a.yaml:2  extends: no recipe 'quickstrat': no such file, and none of that name")
    assert found.endswith("Did you mean quickstart?")
    assert complaint_about("extends: [b.yaml]\n").startswith("a.yaml:1  extends: expected one recipe, found")


def test_recipes_that_extend_one_another_are_refused() -> None:
    write("sub/b.yaml", "# b\nextends: ../a.yaml\n")
    found = complaint_about("extends: sub/b.yaml\n")
    assert found.endswith("b.yaml:2  extends: recipes extend each other in a cycle: a.yaml -> b.yaml -> a.yaml.")
    assert complaint(write("c.yaml", "extends: c.yaml")).endswith("in a cycle: c.yaml -> c.yaml.")


def test_an_environment_variable_that_is_not_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"DSFT_BYTES": "\udcff"})
    found = complaint_about(SMALL + "output: {dir: '${env:DSFT_BYTES}'}\n")
    assert found == "a.yaml:1  a key or an environment variable in it is not Unicode text."


def test_a_run_folder_is_read_as_its_recipe(here: Path) -> None:
    run = here / "runs" / "$one"
    run.mkdir(parents=True)
    recipe = load_recipe("quickstart", ["optim.lr=0.5", "output.dir=elsewhere"])
    (run / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    found = load_recipe("runs/$one", ["schedule.epochs=3"])
    assert (found.optim.lr, found.schedule.epochs, found.output.dir) == (0.5, 3, "runs/$one")
    assert load_recipe("runs/$one", ["output.dir=other"]).output.dir == "other"
    (run / "recipe.yaml").unlink()
    with pytest.raises(RecipeError, match=r"found the folder 'runs/\$one' without recipe\.yaml"):
        load_recipe("runs/$one")
