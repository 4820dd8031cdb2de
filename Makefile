# Each target makes .venv with what it needs. Beforehand: Python 3.11 to 3.13 and make. Another interpreter: make PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

.PHONY: demo test lint clean

demo: .venv/installed-demo
	$(BIN)/spinenet-tf demo

test: .venv/installed-test
	$(BIN)/python -m pytest

# Type checkers do not follow the package_dir of an editable install, so they read an installed copy from outside the root.
lint: .venv/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(PIP) install --no-deps --no-build-isolation --target build/typed .
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml --package spinenet_tf

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit("spinenet_tf needs Python 3.11 to 3.13 (make PYTHON=...). Received: Python " + v)'
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed-%: setup.cfg pyproject.toml | .venv/created
	@echo "Installing spinenet_tf[$*] into .venv (a few minutes the first time)"
	$(PIP) install --editable '.[$*]'
	touch $@
