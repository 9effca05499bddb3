# make demo     environment, install, then the main job end to end on the embedded data set
# make test     the tests that take minutes at most; make test-all adds the slow ones
# make test-runtimes  the tests of runtimes with ExecuTorch, which it installs (250 MB)
# make test-ecosystem  the tests of transformers, Lightning and segmentation_models, which it installs (400 MB)
# make test-oldest  the same with the oldest supported dependencies, in an environment of their own (7 GB)
# make check    format, lint, types, layers
# make reference  write the recipe reference into recipes/README.md

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OLDEST := .venv-oldest
TESTS ?=

.PHONY: install demo test test-all test-runtimes test-ecosystem test-oldest check format reference bench clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "dsft needs Python 3.11 or newer, found $$($(PYTHON) --version). Use make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/dsft train digits_dense --overwrite
	$(BIN)/dsft convert runs/digits_dense/model --budget macs=0.35 --out runs/digits_converted --overwrite
	$(BIN)/dsft finetune quickstart --overwrite
	$(BIN)/dsft finetune quickstart name=quickstart_svd convert.method=svd --overwrite
	$(BIN)/dsft finetune quickstart name=quickstart_fresh convert.method=fresh --overwrite
	$(BIN)/dsft evaluate runs/digits_dense runs/digits_converted runs/quickstart runs/quickstart_svd runs/quickstart_fresh

test: install
	$(BIN)/pytest -n 2 -m "not slow" $(TESTS)

test-all: install
	$(BIN)/pytest -n 2 --hypothesis-profile other $(TESTS)

# ExecuTorch installs about thirty packages that nothing else needs.
test-runtimes: install
	$(BIN)/pip install --quiet --editable '.[dev,executorch]'
	$(BIN)/pytest tests/runtimes $(TESTS)

# Ultralytics has another licence (AGPL) and is tested where you have installed it.
test-ecosystem: install
	$(BIN)/pip install --quiet --editable '.[dev,lightning,smp,transformers]'
	$(BIN)/pytest tests/ecosystem $(TESTS)

$(OLDEST)/.installed: pyproject.toml .ci/lower_bounds
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) .ci/lower_bounds > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[dev]'
	@touch $@

# Old releases use names that newer releases of their own dependencies have deprecated, and torch 2.9 warns of a buffer
# of its own when it reads an exported program.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/pytest -n 2 -m "not slow" -W default::DeprecationWarning \
		-W "default:The given buffer is not writable:UserWarning" $(TESTS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: install
	$(BIN)/python -c 'from pathlib import Path; from dsft.recipe.reference import replace_reference; \
		page = Path("recipes/README.md"); page.write_text(replace_reference(page.read_text("utf-8")), "utf-8")'

bench: install
	for script in tests/benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(OLDEST) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
