# All that a developer or CI runs. `make setup` does nothing when it is up to date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-all test-crash test-fuzz check format docs bench bench-speed bench-roofline bench-trust bench-serving clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib src >/dev/null || true  # on all cores; some packages hold no Python
	touch $(STAMP)

demo: setup
	$(BIN)/mu2net demo

test: setup
	$(BIN)/python -m pytest -n 2

# Also what takes long.
test-all: setup
	$(BIN)/python -m pytest -n 2 --exhaustive

# Errors and crashes at every step, and a thousand killed processes, which takes a while; `make test` has some of both.
test-crash: setup
	$(BIN)/python -m pytest -n 2 --exhaustive tests/store/test_crashes.py tests/store/test_faults.py
	$(BIN)/python -m benchmarks.trust --only kills --dry $(ARGS)

# A minute of random files for everything that reads files of others.
test-fuzz: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,fuzz]'
	for target in component manifest config seal; do $(BIN)/python -m attacks.fuzz $$target -max_total_time=15 || exit 1; done

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/build_reference.py --check

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/python docs/build_reference.py

# For instance: make bench ARGS='--seeds 1 2'
bench: setup
	$(BIN)/python -m benchmarks.suite $(ARGS)

# For instance: make bench-speed ARGS='--tasks FOLDER --vit FILE.safetensors'
bench-speed: setup
	$(BIN)/python -m benchmarks.speed $(ARGS)

bench-roofline: setup
	$(BIN)/python -m benchmarks.roofline $(ARGS)

# For instance: make bench-trust ARGS='--only corruption --corruptions 1000'
bench-trust: setup
	$(BIN)/python -m benchmarks.trust $(ARGS)

# For instance: make bench-serving ARGS='--tasks FOLDER --root file:FILE.safetensors'
bench-serving: setup
	$(BIN)/python -m benchmarks.serving $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
