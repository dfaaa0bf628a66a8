# make setup   a .venv with smx and the exact versions of constraints.txt in it; again: nothing to do
# make demo    the whole story on the built-in rooms, from chosen frames to the table
# make test    everything CI checks: lint, format, types, tests
# make test-lowest, make test-newest   the quick tests with the oldest and newest versions that pyproject.toml allows
# make docs    help texts and examples in docs/ and README.md, as smx prints them today

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin

# What the environment was made from. It is written last, so an interrupted set-up starts over.
STAMP := $(VENV)/setup.stamp
WANTED := $(shell cat pyproject.toml constraints.txt | cksum) in $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-lowest test-newest cluster browser docs lint types unit slurm

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup:
	@if [ "$$(cat $(STAMP) 2>/dev/null)" = "$(WANTED)" ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; set -e; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "setup: smx needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }; \
	echo "setup: environment in $(VENV), with $$($(PYTHON) -V)"; \
	rm -f $(STAMP); \
	$(BIN)/python -c '' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "setup: $(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' > $(VENV)/dev.txt; \
	echo "setup: installing smx and what it needs, as pinned in constraints.txt (torch is large; minutes on a slow network)"; \
	$(BIN)/python -m pip install $$([ -t 1 ] || echo -qq) --disable-pip-version-check -c constraints.txt -r $(VENV)/dev.txt -e .; \
	echo "$(WANTED)" > $(STAMP); \
	echo "setup: done; . $(BIN)/activate puts smx on the path"

demo: setup
	@$(BIN)/smx demo

# All at once: types need one core for a minute, tests on SLURM hardly any. -k: a failure of one does not hide what the others say.
test: setup cluster browser
	@$(MAKE) --no-print-directory -k -j4 lint types unit slurm

# A SLURM to test on, where SMX_REQUIRE names slurm and packages can be installed without asking.
SLURM := slurmctld slurmd slurm-client munge slurmdbd mariadb-server
cluster:
	@case ",$$SMX_REQUIRE," in *,slurm,*) ;; *) exit 0 ;; esac; PATH="$$PATH:/usr/sbin"; \
	for each in slurmctld slurmd slurmdbd sbatch munged mariadbd apt-get; do command -v $$each || echo no $$each; done \
	  | grep '^no ' | grep -qv apt-get && command -v apt-get >/dev/null || exit 0; \
	root=; [ "$$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && root="sudo -n"; } || exit 0; \
	echo "test: installing $(SLURM)"; \
	{ $$root apt-get -qq update && $$root env DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq install --yes --no-install-recommends $(SLURM); } >/dev/null 2>&1 || \
	  echo "test: they cannot be installed here; tests on a cluster are left out" >&2

# A browser to open pages in, where SMX_REQUIRE names browser, likewise. After cluster: one apt-get at a time.
browser: cluster
	@case ",$$SMX_REQUIRE," in *,browser,*) ;; *) exit 0 ;; esac; \
	{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null && exit 0; \
	command -v apt-get >/dev/null || exit 0; \
	root=; [ "$$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && root="sudo -n"; } || exit 0; \
	echo "test: installing chromium"; \
	{ $$root apt-get -qq update && $$root env DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq install --yes --no-install-recommends chromium; } >/dev/null 2>&1 || \
	  echo "test: it cannot be installed here; tests of pages in a browser are left out" >&2

# Each requirement of smx is met by a test here, in minutes. An environment is made anew when what is allowed changes.
QUICK := db executors geometry_sources imports models plugins positions report requirements samplers samples_view \
  scannetpp spec video vsibench workspace
TRAINS := tests/test_pipeline.py::test_a_short_training_is_evaluated_by_its_runs_name
test-lowest test-newest: test-%:
	@set -e; env=$(VENV)-$*; \
	if [ "$$(cat $$env/setup.stamp 2>/dev/null)" != "$(WANTED)" ]; then \
	  rm -rf $$env; $(PYTHON) -m venv $$env; \
	  $$env/bin/python tests/support/bounds.py $* > $$env/bounds.txt; \
	  $$env/bin/python tests/support/bounds.py tools > $$env/tools.txt; \
	  echo "test-$*: installing into $$env (torch as pinned: other builds of it are gigabytes)"; \
	  $$env/bin/python -m pip install -qq --disable-pip-version-check -c $$env/bounds.txt -r $$env/tools.txt -e .; \
	  echo "$(WANTED)" > $$env/setup.stamp; \
	fi; \
	$$env/bin/python -m pip freeze --exclude-editable --disable-pip-version-check > $$env/versions.txt; \
	OMP_NUM_THREADS=1 $$env/bin/python -m pytest -n $(JOBS) $(QUICK:%=tests/test_%.py) $(TRAINS)

docs: setup
	@OMP_NUM_THREADS=1 $(BIN)/python docs/generate.py

lint:
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types:
	$(BIN)/mypy

# One thread for each worker's maths: workers are the parallelism here.
unit:
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --ignore tests/slurm

# Beside the others: these tests mostly wait for SLURM's timers.
slurm:
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) tests/slurm
