# make demo | test | check | bench NAME=startup: each makes .venv from requirements.lock first, if it has to.
PYTHON ?= python3
VENV := .venv
SERVERS := .servers
RAY := .ray
BROWSER := .browser
DOCS := .docs
PY := $(VENV)/bin/python
INSTALL = $(PY) -m pip install --quiet --no-compile --no-deps --require-hashes
MAKEFLAGS += --no-print-directory
# Weights come in packages; nothing is fetched from a hub, and forked workers do not warn about tokenizers' threads.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What is compiled once is kept: compiling torch and transformers anew takes each process twenty seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-run test test-long test-servers test-ray test-browser check docs docs-current bench lock clean

help:
	@echo "make demo          run the drawn shop end to end; the runs are left in runs/"
	@echo "make demo-run      make the small run anew that the wheel carries for: trialigngr demo"
	@echo "make test          run every test that does not take long (minutes)"
	@echo "make test-long     run those that do: real kills at every stage, whole runs, second opinions"
	@echo "make test-servers  ask a real server about 50 items: llama.cpp's, with a small model (minutes)"
	@echo "make test-ray      run stages on a Ray cluster of this machine, workers killed on the way (minutes)"
	@echo "make test-browser  look at the service's pages in Chromium, which must be installed (minutes)"
	@echo "make check         format, lint, types, import direction, docs current, links"
	@echo "make docs          build the docs as a site that needs no network: site/index.html"
	@echo "make bench NAME=x  run benchmarks/x.py; the last line is one JSON object"
	@echo "make lock          write requirements.lock anew from pyproject.toml"

# The environment is made anew when a lock changes; the project is put into it again when pyproject.toml changes.
# The locks are whole, so nothing else is looked for. torch comes first and in two steps, the build that pip finds and then
# its hash: asked for both at once, pip passes by a CPU build in a folder for that of an index, with gigabytes of CUDA.
$(VENV)/.locked: requirements.lock requirements-cuda.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "trialigngr needs Python 3.11 or newer, and '$(PYTHON)' is not; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip download --quiet --no-deps --dest $(VENV)/torch $$(grep -o '^torch==[^ ]*' requirements.lock)
	@sed -n '/^torch==/,/[^\\]$$/p' requirements.lock > $(VENV)/torch/hashes.txt
	$(INSTALL) --no-index --find-links $(VENV)/torch -r $(VENV)/torch/hashes.txt
	@rm -r $(VENV)/torch
	$(INSTALL) -r requirements.lock
	@if $(PY) -m pip check | grep -q '^torch .* requires'; then $(INSTALL) -r requirements-cuda.lock; fi
	@touch $@

$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.ready
	$(VENV)/bin/trialigngr run trialigngr-demo --out runs/demo
	$(VENV)/bin/trialigngr run trialigngr-demo+text-only+t3-only --out runs/demo-t3-text
	$(VENV)/bin/trialigngr evaluate runs/demo runs/demo-t3-text

# What `trialigngr demo` shows, packed into the wheel.
demo-run: $(VENV)/.ready
	$(PY) scripts/make_demo.py

# Files go whole to a process, for what their tests share, in the order of tests/conftest.py: what takes longest first.
PYTEST = $(PY) -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.ready
	$(PYTEST) -m "not long"

test-long: $(VENV)/.ready
	$(PYTEST) -m long

# What real servers need lies beside .venv, so that no other test leans on it.
$(SERVERS)/.ready: $(VENV)/.ready tests/servers/requirements.txt
	rm -rf $(SERVERS)
	$(INSTALL) --target $(SERVERS) -r tests/servers/requirements.txt
	@touch $@

test-servers: $(SERVERS)/.ready
	PYTHONPATH=$(SERVERS) $(PY) -m pytest tests/servers -s

# Ray lies beside .venv too: .venv holds what every test may lean on.
$(RAY)/.ready: $(VENV)/.ready tests/pipeline/ray.txt
	rm -rf $(RAY)
	$(INSTALL) --target $(RAY) -r tests/pipeline/ray.txt
	@touch $@

test-ray: $(RAY)/.ready
	PYTHONPATH=$(CURDIR)/$(RAY) $(PY) -m pytest tests/pipeline/test_on_ray.py tests/serve/test_ray_deployment.py

# So does what drives a browser; the browser itself is the system's.
$(BROWSER)/.ready: $(VENV)/.ready tests/serve/browser.txt
	rm -rf $(BROWSER)
	$(INSTALL) --target $(BROWSER) -r tests/serve/browser.txt
	@touch $@

test-browser: $(BROWSER)/.ready
	PYTHONPATH=$(CURDIR)/$(BROWSER) $(PY) -m pytest tests/serve/test_browser.py

check: $(VENV)/.ready
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) scripts/check_names.py
	@$(MAKE) docs-current

docs-current: $(VENV)/.ready
	$(PY) -m trialigngr.cli.docs --check
	$(PY) scripts/write_api.py --check
	$(PY) scripts/check_docs.py

# What builds the site lies beside .venv as well.
$(DOCS)/.ready: $(VENV)/.ready scripts/site.txt
	rm -rf $(DOCS)
	$(INSTALL) --target $(DOCS) -r scripts/site.txt
	@touch $@

docs: $(DOCS)/.ready
	PYTHONPATH=$(CURDIR)/$(DOCS) $(PY) scripts/build_site.py

bench: $(VENV)/.ready
	@$(PY) -u -m benchmarks $(NAME)

lock:
	$(PYTHON) scripts/lock.py

clean:
	rm -rf $(VENV) $(SERVERS) $(RAY) $(DOCS) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
