# lokma's commands. `make demo` is the whole way; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
CPU_INDEX := https://download.pytorch.org/whl/cpu
INSTALLED := .venv/.installed

.PHONY: help install demo test test-arm check fix wheels docs results fuzz bench-check cluster client-kserve soak serving-studies aa bench-peers zoo clean

help:            ## list the commands
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

install: $(INSTALLED)  ## set up .venv with everything

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py edge_runtime/native.cpp package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lokma needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")'
	@command -v g++ >/dev/null || { echo "lokma's engine needs g++; on Debian and Ubuntu: apt install g++"; exit 3; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	@if [ "$$(uname -s)" = Linux ] && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
	  why=; \
	  if command -v nvidia-smi >/dev/null; then why="an NVIDIA GPU is here"; \
	  elif [ "$$(uname -m)" != x86_64 ]; then why="this is $$(uname -m)"; \
	  elif ! $(BIN)/python -c 'import urllib.request; urllib.request.urlopen("$(CPU_INDEX)/torch/", timeout=5)' 2>/dev/null; then \
	    why="PyTorch's CPU index does not answer"; \
	  else \
	    echo "no NVIDIA GPU here: taking PyTorch's CPU build (about 200 MB)"; \
	    $(BIN)/python -m pip install --quiet --no-deps --index-url $(CPU_INDEX) --constraint constraints.txt torch torchvision \
	    || why="PyTorch's CPU index did not give the pinned versions"; \
	  fi; \
	  test -z "$$why" || echo "$$why: taking PyTorch's default build, which brings CUDA (about 3 GB to download, 5.5 GB on disk)"; \
	fi
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	@if command -v npm >/dev/null; then npm ci; else echo "no phone page: Node.js is not installed"; fi
	@touch $@

demo: install    ## photographs -> model -> bundle -> numbers -> a page (DEMO_ARGS=--no-serve ends before the page)
	@$(BIN)/python -m mobile_demo.demo $(DEMO_ARGS)

test: install    ## the tests
	$(BIN)/python -m pytest

test-arm: install  ## the device's tests on emulated Raspberry Pis 3, 4 and 5, with the aarch64 wheel
	$(BIN)/python tests/arm

check: install   ## lint, format, types, and that generated pages are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -x node_modules/.bin/tsc ]; then for part in tsconfig tsconfig.workers; do \
	  node_modules/.bin/tsc -p mobile_demo/phone/$$part.json || exit 1; done; \
	else echo "types of the phone page: not checked, TypeScript is not installed (npm ci)"; fi
	$(BIN)/cog -P --check README.md README.tr.md
	@$(BIN)/python -m benchmarks.report results/reference.jsonl | cmp - RESULTS.md || { echo "RESULTS.md is stale: make docs"; exit 1; }

fix: install     ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheels: install  ## the device's wheels, in dist/: x86_64, aarch64 where its compiler is installed, and any
	rm -rf dist
	@for platform in manylinux_2_28_x86_64 manylinux_2_28_aarch64 any; do \
	  machine=$${platform#manylinux_2_28_}; \
	  if [ $$machine = "$$(uname -m)" ]; then compiler=g++; else compiler=$$machine-linux-gnu-g++; fi; \
	  if [ $$platform != any ] && ! command -v $$compiler >/dev/null; then echo "$$platform: skipped, $$compiler is not installed"; continue; fi; \
	  LOKMA_PLATFORM=$$platform $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . || exit 1; done
	@ls -l dist

docs: install    ## generate the tables in README and RESULTS.md
	$(BIN)/cog -P -r README.md README.tr.md
	$(BIN)/python -m benchmarks.report results/reference.jsonl > RESULTS.md.new && mv RESULTS.md.new RESULTS.md

results: install  ## measure again what RESULTS.md reports (after make demo; the emulated network needs root)
	rm -rf results/fresh && mkdir -p results/fresh
	LOKMA_RESULTS=results/fresh $(BIN)/lokma bench bundles/foodvision-mini --on device,gpu,cloud,eager --network lan,lte --cold-starts 10 --anyway
	LOKMA_RESULTS=results/fresh $(BIN)/lokma bench bundles/cartpole --cold-starts 20 --anyway
	-LOKMA_RESULTS=results/fresh $(BIN)/python -m benchmarks.runtime_budget
	-LOKMA_RESULTS=results/fresh $(BIN)/python -m benchmarks.decode_drift
	$(BIN)/python -m benchmarks.reference results/fresh/*.jsonl
	$(MAKE) docs

fuzz: install    ## five minutes of hostile manifests, zips and pictures
	$(BIN)/python -m pip install --quiet --constraint constraints.txt atheris
	$(BIN)/python -m tests.fuzz

bench-check: install  ## the budgets, about fifty minutes (after make results; the export's B2 row: python -m benchmarks.export_times_budget)
	@status=0; for room in runtime export train serving bench phone dashboard; do $(BIN)/python -m benchmarks.$${room}_budget || status=1; done; exit $$status

cluster: install  ## add Ray Serve to .venv, for lokma serve --engine ray
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,cluster]'

client-kserve: install  ## the kserve SDK in an environment of its own, for make serving-studies
	test -x .venv-kserve/bin/python || $(PYTHON) -m venv .venv-kserve
	.venv-kserve/bin/python -m pip install --quiet kserve==0.21.0

soak: install    ## ten minutes at twice the server's capacity; goes on where it was cut off
	$(BIN)/python -m benchmarks.serving_studies soak

serving-studies: cluster client-kserve  ## what serving_budget reads: a killed replica, 10,000 hostile cases, 10,000 connections, other people's clients
	@status=0; for study in kill fuzz crowd kserve triton; do $(BIN)/python -m benchmarks.serving_studies $$study || status=1; done; exit $$status

aa: install      ## whether compare tells the truth: 300 comparisons, 25 minutes; goes on where it was cut off
	$(BIN)/python -m benchmarks.aa_study

bench-peers: install  ## lokma beside OpenVINO, ncnn and others (extra [peers]), 40 minutes; goes on where it was cut off
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,peers]'
	-$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .venv/litert --requirement benchmarks/rivals/litert.txt
	PYTHONPATH=$(CURDIR)/.venv/litert $(BIN)/python -m benchmarks.peers_budget

zoo: install     ## 24 networks of torchvision through the main recipes, 90 minutes at most; goes on where it was cut off
	$(BIN)/python -m benchmarks.zoo_budget

clean:           ## remove what was built (runs, bundles and records stay)
	rm -rf .venv node_modules dist edge_runtime/_native .pytest_cache .ruff_cache .mypy_cache
