# Python 3.11 or newer and make are all that is needed: everything else is fetched into the
# checkout, uv into .tools and the packages of uv.lock into .venv.
PYTHON ?= python3
UV := .tools/bin/uv
# Packages, and what builds those that come without a wheel, are installed by hash (uv.lock,
# pyproject.toml); so is uv itself.
SYNC := $(UV) sync --frozen --quiet --system-certs --no-python-downloads --require-build-hashes \
	--preview-features build-dependency-hashes
BIN := .venv/bin
export DBT_PROFILES_DIR := profiles
export UV_COMPILE_BYTECODE_TIMEOUT := 0

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-servers test tests proof lint format docs metrics-page persona-pages
.PHONY: readme check-pages dist robustness
.PHONY: distributions compare-methods compare-clusters compare-dataframes compare-engines
.PHONY: benchmark benchmark-retention kill-test clean

help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 21

setup: .venv/.installed  ## Fetch uv and the locked packages into the checkout

$(UV): .ci/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Name another with make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes \
		--only-binary :all: --requirement .ci/uv.txt
	@touch $@

# With bytecode: where Python may not write it, each command would compile dbt again, for seconds.
.venv/.installed: uv.lock pyproject.toml | $(UV)
	$(SYNC) --python $(PYTHON) --compile-bytecode
	@touch $@

# What only tests need besides: Spark, pandas and polars, some 500 MB.
.venv/.installed-for-tests: .venv/.installed
	$(SYNC) --python $(PYTHON) --extra spark --group dataframes
	@touch $@

demo: setup  ## Generate a small streaming service and find its personas
	$(BIN)/personas demo

demo-servers: setup  ## The demo out of a real Druid and a MongoDB server, and into Druid again
	$(BIN)/python tests/tools/demo_servers.py

# A file's tests share what they build.
PYTEST := $(BIN)/pytest --dist loadfile --no-loadscope-reorder

# The linters run beside the tests: alone they would keep one core waiting.
test: .venv/.installed-for-tests  ## Lint and run what a change needs, in minutes
	$(MAKE) --jobs 2 lint tests

tests: .venv/.installed-for-tests
	$(PYTEST) -n 2 -m "not proof"

# Three processes on two cores, because servers are waited for, and each has servers of its own.
proof: .venv/.installed-for-tests  ## Run the rest: all histories, Spark, Druid, MongoDB, kills
	PERSONAS_SUITE=proof $(PYTEST) -n 3 -m "proof or histories"
	$(BIN)/python tests/tools/kill_and_recover.py --times 6

lint: .venv/.installed-for-tests  ## Check style, types, spelling, YAML and SQL
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/codespell
	$(BIN)/python tests/tools/lint_sql.py

format: setup  ## Put Python into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup  ## Write target/static_index.html: lineage and descriptions in one page
	$(BIN)/python -m pages.lineage

metrics-page: setup  ## Write docs/metrics.md from the models' YAML
	$(BIN)/python -m pages.metrics

persona-pages: setup  ## Write docs/personas from the seeds and the demo
	$(BIN)/personas demo
	$(BIN)/python -m pages.personas demo/personas.duckdb

readme: setup  ## Write what README.md shows of the demo
	$(BIN)/python -m pages.readme

check-pages: setup  ## Say whether the pages written from YAML and seeds are up to date
	$(BIN)/python -m pages.metrics --check
	$(BIN)/python -m pages.personas --check

dist: $(UV)  ## Build wheel and sdist into dist
	$(UV) build --quiet --system-certs --python $(PYTHON) --no-python-downloads \
		--require-build-hashes --preview-features build-dependency-hashes

robustness: setup  ## Build 10 demos (5 seeds, noise 1 and 2) and write the tables of docs/recovery.md
	$(BIN)/python -m bench.robustness

distributions: setup  ## Draw docs/distributions from the demo and from MovieTweetings
	$(BIN)/personas demo
	$(BIN)/personas run --sources examples/movietweetings/sources.yml \
		--database movietweetings.duckdb
	$(UV) run --frozen --quiet --system-certs --group report \
		python -m pages.distributions \
		demo=demo/personas.duckdb movietweetings=movietweetings.duckdb

compare-methods: setup  ## Compare the methods of choosing one of several matches, on the demo
	$(BIN)/personas demo
	$(BIN)/python -m bench.methods demo

compare-clusters: setup  ## Compare the rules with k-means and Gaussian mixtures, on the demo
	$(BIN)/personas demo
	$(UV) run --frozen --quiet --system-certs --group compare \
		python -m bench.clusters demo

compare-dataframes: EVENTS := 5000000
compare-dataframes: setup  ## Compare time, memory and results with pandas and polars, by EVENTS
	$(UV) run --frozen --quiet --system-certs --group dataframes \
		python -m bench.dataframes --events $(EVENTS)

compare-engines: .venv/.installed-for-tests  ## Build the demo and MovieTweetings on Spark, too
	$(BIN)/python -m bench.engines

EVENTS := 20000000
benchmark: setup  ## Measure every step and model, EVENTS=20000000 of them, beside bare floors
	$(BIN)/python -m bench.cost --events $(EVENTS) $(ARGUMENTS)

benchmark-retention: setup  ## Simulate 30 daily runs: the size of the database, with a retention and without
	$(BIN)/python -m bench.retention

kill-test: setup  ## Kill load, build and export 30 times at random points, and recover
	$(BIN)/python tests/tools/kill_and_recover.py --times 30

clean:  ## Remove what is built, not what is fetched
	rm -rf target logs demo exports dist
