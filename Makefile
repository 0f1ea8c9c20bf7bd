# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
# Wheels without CUDA, for Linux machines that have no NVIDIA GPU. Elsewhere PyPI's own build is right.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_FLAGS := $(shell if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
	echo --retries 1 --extra-index-url $(TORCH_CPU_INDEX); fi)
BIN := $(VENV)/bin

.PHONY: help demo test sequences check format clean
help: ## show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/.torch: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check "torch>=2.13,<2.14" $(TORCH_FLAGS)
	touch $@

$(VENV)/.demo: $(VENV)/.torch
	$(BIN)/pip install -q --disable-pip-version-check -e '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.torch
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## forget people from a real classifier and prove it (KEEP=1 leaves the server running)
	$(BIN)/lacuna demo $(if $(KEEP),--keep)

# Three at a time, even on two cores: many tests wait for other processes. The longest, which start those, come first.
test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

SEED ?= 1
sequences: $(VENV)/.dev ## 10,000 random histories, removed against never seen (SEED=1)
	LACUNA_SEQUENCES=10000 $(BIN)/python -m pytest tests/unlearning/test_forgetting_properties.py \
		--hypothesis-seed=$(SEED) --timeout=3600 -v

check: $(VENV)/.dev ## lint, types, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was built here
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
