# make demo    archive a playlist from the bundled emulator, from nothing
# make test    the test suite
# make coverage  the suite once more, measured: fails below 90 % of lines
# make chaos   20 seeded runs with accidents of all kinds; SEEDS=5 for fewer
# make power-cut  200 power cuts of the whole machine, at random moments of recorded runs (Linux with FUSE); CUTS=20 for fewer
# make mutants  each claim of the specification broken, to see that its tests fail; CLAIMS="3.2 4.1" for some
# make soak    5,000 videos: memory, files and the broker's store must stay level
# make bench   time, memory and requests of archiving beside yt-dlp's own command, and costs of the queue and of search
# make page-bench  what the page weighs, and how fast it is with 50,000 videos
# make growth  what search, lists, statistics, rescans and a start cost with 10,000, 50,000 and 200,000 videos (half an hour)
# make follow-world  200 channels over 60 days of a made clock: what is found, when, and with how many requests
# make audit   known vulnerabilities of the versions in constraints.txt (needs the internet)
# make sbom    dist/sbom.json: the packages of a release, as CycloneDX
# make upgrade renew constraints.txt with the newest versions that pyproject.toml allows
# make page    build the web page into ytarchive/web/static (packages from npm)
# make screenshots  the pictures of the page in docs/images
# make check   all that CI runs: lint, types, import contracts, generated docs, the page, tests
# With PYTHON=python3.12, say, each of them runs on that Python.
PYTHON ?= python3
VENV   ?= .venv
# Bytecode is kept, also where the environment says otherwise: most of what tests do is to start processes.
export PYTHONDONTWRITEBYTECODE :=
# Tests at once: they mostly wait, so more than there are cores is fine.
WORKERS ?= 4
BIN    := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# One stamp per set of packages: a changed pyproject.toml or constraints.txt installs again, unchanged ones cost nothing.
RUN    := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev

# PYTHON that is given, and is not what the environment was made with: the environment is made anew.
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(BIN)/python),)
RELEASE := import platform; print(platform.python_version())
ifneq ($(shell $(BIN)/python -c '$(RELEASE)'),$(shell $(PYTHON) -c '$(RELEASE)'))
.PHONY: $(BIN)/python $(RUN) $(DEV)
endif
endif
endif

.PHONY: page page-check screenshots page-bench demo test chaos power-cut mutants soak audit sbom coverage check lint types contracts fresh fix docs bench follow-world growth upgrade clean

# The page. Where its packages cannot be had, everything else works; page/build.py says so.
PAGE := ytarchive/web/static/index.html
page: $(PAGE)
$(PAGE): $(shell find page -type f) $(RUN)
	@$(BIN)/python page/build.py || true

demo: $(RUN) $(PAGE)
	@$(BIN)/ytarchive demo --dir .demo

test: $(DEV) $(PAGE)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

coverage: $(DEV)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal --cov --cov-report=term $(ARGS)

SEEDS ?= 20
chaos: $(DEV)
	$(BIN)/python -m tests.chaos.accidents --seeds $(SEEDS) $(ARGS)

CUTS ?= 200
power-cut: $(DEV)
	$(BIN)/python -m tests.chaos.power_cut --cuts $(CUTS) $(ARGS)

mutants: $(DEV)
	$(BIN)/python -m tests.spec.mutants --claims $(CLAIMS) $(ARGS)

screenshots: $(DEV) $(PAGE)
	$(BIN)/python -m tests.web.screenshots

soak: $(DEV)
	$(BIN)/python -m tests.benchmarks.soak $(ARGS)

# Tools that only these two targets need, in an environment of their own. (bandit's rules are ruff's S, in `make lint`.)
.audit/bin/pip-audit:
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit cyclonedx-bom

audit: .audit/bin/pip-audit
	.audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

sbom: .audit/bin/pip-audit
	rm -rf .audit/release && mkdir -p dist
	$(PYTHON) -m venv .audit/release
	.audit/release/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	.audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.json .audit/release

check: lint types contracts fresh page-check test

page-check: $(DEV)
	cd page && ../$(BIN)/deno fmt --check --quiet && ../$(BIN)/deno lint --quiet && ../$(BIN)/deno check --quiet src/main.tsx && ../$(BIN)/deno test --quiet

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

contracts: $(DEV)
	$(BIN)/lint-imports

fresh: $(DEV)
	$(BIN)/python -m ytarchive.docgen --check
	$(BIN)/python tests/spec/specification.py --check

fix: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd page && ../$(BIN)/deno fmt --quiet

docs: $(DEV)
	$(BIN)/python -m ytarchive.docgen
	$(BIN)/python tests/spec/specification.py

bench: $(DEV)
	$(BIN)/python -m tests.benchmarks.archiving $(ARGS)
	$(BIN)/python tests/benchmarks/jobs_store.py
	$(BIN)/python -m tests.benchmarks.jobs_growth
	$(BIN)/python tests/benchmarks/search.py

page-bench: $(DEV) $(PAGE)
	$(BIN)/python -m tests.benchmarks.page $(ARGS)

follow-world: $(DEV)
	$(BIN)/python -m tests.benchmarks.follow_world $(ARGS)

growth: $(DEV)
	$(BIN)/python -m tests.benchmarks.archive_growth $(ARGS)

# The newest versions that pyproject.toml allows, in an environment of their own. Run `make check` afterwards.
upgrade:
	rm -rf .upgrade
	$(PYTHON) -m venv .upgrade
	.upgrade/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	{ sed -n '/^#/p' constraints.txt; .upgrade/bin/python -m pip freeze --exclude-editable | grep '=='; } > .constraints.new
	mv .constraints.new constraints.txt
	rm -rf .upgrade

clean:
	rm -rf $(VENV) .audit .demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "YTArchive needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(if $(wildcard $(VENV)/pyvenv.cfg),--clear) $(VENV)

$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --constraint constraints.txt -e .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --constraint constraints.txt -e '.[dev]'
	@touch $@ $(RUN)
