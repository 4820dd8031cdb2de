# Each target makes .venv with what it needs. Requirements: Python 3.11 to 3.13 and make. Another interpreter: make PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip -qq --disable-pip-version-check install
# Empty where there is none; a shim that cannot start one counts as none.
PYTHON311 = $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null)

.PHONY: demo test test-models test-tools test-garden test-addons test-lowest test-robustness test-soak parity robustness bench bench-quick lint clean

demo: .venv/installed-demo
	$(BIN)/spinenet-tf demo

test: test-models test-tools test-garden test-addons

# In two parts, since one process does not fill two cores: make --jobs=2 test.
TOOLS := tests/evaluation tests/export tests/training
test-models: .venv/installed-test
	$(BIN)/python -m pytest $(TOOLS:%=--ignore=%)
test-tools: .venv/installed-test
	$(BIN)/python -m pytest $(TOOLS)

# A part of test-models.
test-robustness: .venv/installed-test
	$(BIN)/python -m pytest tests/robustness

# 2,000 steps watched, 50 kills, every graph as ONNX: twenty minutes alone on two cores. Nothing else runs these.
test-soak: .venv/installed-test
	$(BIN)/python -m pytest -m soak tests/robustness tests/export

# Writes docs/robustness.md anew from what the tests of test-robustness tried; SOAK=1: those of test-soak too.
robustness: .venv/installed-test
	mkdir -p build && rm -f build/robustness.*
	-ROBUSTNESS_TABLE=build/robustness.jsonl $(BIN)/python -m pytest --junitxml build/robustness.xml $(if $(SOAK),-m '') tests/robustness
	$(BIN)/python docs/write_robustness.py build/robustness.jsonl build/robustness.xml docs/robustness.md

# Each dependency at the lower bound that setup.cfg gives, which older ones warn of: -W default.
LOWEST := tests/nets/test_base.py tests/test_jax.py tests/inference/test_predictor.py tests/cli/test_tables.py tests/ops tests/data/formats/test_coco.py \
	tests/data/test_images.py tests/data/formats/test_tfrecord.py tests/evaluation/test_average_precision.py tests/evaluation/test_confusion.py \
	tests/evaluation/test_gallery.py tests/export/test_onnxmodel.py tests/training/test_config.py
test-lowest: .venv-lowest/installed
	.venv-lowest/bin/python -m pytest -W default -m 'not slow and not soak' $(LOWEST)

# TF Model Garden pins its TensorFlow, so it gets an environment of its own. It warns by itself: -W default.
test-garden: .venv-garden/installed
	.venv-garden/bin/python -m pytest -W default tests/garden

# Writes docs/parity.md anew from the parity tests, with 30 random graphs in place of 12.
parity: .venv-garden/installed
	mkdir -p build && rm -f build/parity.jsonl
	PARITY_TABLE=build/parity.jsonl SPINENET_TF_GRAPHS=30 .venv-garden/bin/python -m pytest -W default tests/garden
	.venv-garden/bin/python docs/write_parity.py build/parity.jsonl docs/parity.md

# Side by side with Model Garden, on a quiet machine: half an hour, or five minutes. Writes benchmarks/results.md and results.json.
bench: .venv-garden/installed
	.venv-garden/bin/python -m benchmarks --plots docs/images
bench-quick: .venv-garden/installed
	.venv-garden/bin/python -m benchmarks --quick --results build/bench-quick.json

# tensorflow-addons ended with TensorFlow 2.15, which needs Python 3.11: its own process, which the tests ask for numbers.
test-addons: .venv/installed-test .venv-addons/installed
	$(BIN)/python -m pytest tests/addons

# Type checkers and import-linter do not follow the package_dir of an editable install: they read an installed copy from outside
# the root.
# It is built in a folder of its own: what setuptools left elsewhere could be of an older tree.
lint: .venv/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	rm -rf build/lint
	mkdir -p build/lint
	printf '[build]\nbuild_base = build/lint/base\n' > build/lint/build.cfg
	DIST_EXTRA_CONFIG=build/lint/build.cfg $(BIN)/python $(INSTALL) --no-deps --no-build-isolation --target build/lint/typed .
	cd build/lint/typed && ../../../$(BIN)/mypy --config-file ../../../pyproject.toml --package spinenet_tf
	cd build/lint/typed && ../../../$(BIN)/lint-imports ../../../pyproject.toml

clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit("spinenet_tf needs Python 3.11 to 3.13 (make PYTHON=...). Received: Python " + v)'
	$(PYTHON) -m venv .venv
	touch $@

.venv-garden/installed: setup.cfg pyproject.toml | .venv/installed-test
	@echo "Installing TF Model Garden into .venv-garden (a few minutes the first time)"
	$(BIN)/python -m venv .venv-garden
	.venv-garden/bin/python $(INSTALL) --editable '.[garden]' hypothesis keras-hub pytest
	touch $@

# The bounds become constraints, not a wish to a resolver: if two do not fit each other, pip says so. NumPy's needs Python 3.11 or 3.12.
.venv-lowest/installed: setup.cfg pyproject.toml
	@echo "Installing the oldest dependencies into .venv-lowest (a minute or two the first time)"
	$(or $(PYTHON311),$(PYTHON)) -m venv .venv-lowest
	sed -nE 's/^ +([A-Za-z0-9-]+)>=([0-9.]+)$$/\1==\2/p' setup.cfg > .venv-lowest/lowest.txt
	.venv-lowest/bin/python $(INSTALL) --constraint .venv-lowest/lowest.txt --editable '.[test]'
	touch $@

.venv-addons/installed: tests/addons/requirements.txt
ifeq ($(PYTHON311),)
	@echo "There is no Python 3.11: tests/addons are skipped"
else
	$(PYTHON311) -m venv .venv-addons
	.venv-addons/bin/python $(INSTALL) --requirement $<
	touch $@
endif

.venv/installed-%: setup.cfg pyproject.toml | .venv/created
	@echo "Installing spinenet_tf[$*] into .venv (a few minutes the first time)"
	$(BIN)/python $(INSTALL) --editable '.[$*]'
	touch $@
