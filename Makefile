# Each target creates .venv and installs what it needs. Requirements: make and Python 3.11 to 3.13.
# Another interpreter: make PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
# Python compiles what it imports, a quarter of the files that pip would compile.
INSTALL := -m pip -qq --disable-pip-version-check install --no-compile
# Empty without a Python 3.11 that starts: there may be a shim without an interpreter.
PYTHON311 = $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null)

.PHONY: demo test test-models test-tools test-garden test-addons test-mediapipe test-arm test-torch test-lowest test-robustness test-soak parity robustness arm bench bench-quick phones phones-quick heads second-opinion docs lint clean

demo: .venv/installed-demo
	$(BIN)/spinenet-tf demo

# The longest first.
test: test-models test-tools test-arm test-garden test-mediapipe test-addons

# Two parts, because one process does not use two cores: make --jobs=2 test.
TOOLS := tests/checkpoints tests/evaluation tests/export tests/search tests/training
test-models: .venv/installed-test
	$(BIN)/python -m pytest $(TOOLS:%=--ignore=%)
test-tools: .venv/installed-test
	$(BIN)/python -m pytest $(TOOLS)

# A subset of test-models.
test-robustness: .venv/installed-test
	$(BIN)/python -m pytest tests/robustness

# 2,000 training steps, 50 kills, published nets that learn, every graph in every format: half an hour on two idle cores.
# No other target runs these tests.
test-soak: .venv/installed-test
	$(BIN)/python -m pytest -m soak tests/robustness tests/export tests/test_learning.py

# Rewrites docs/robustness.md from the cases that test-robustness tried; with SOAK=1 also those of test-soak.
robustness: .venv/installed-test
	mkdir -p build && rm -f build/robustness.*
	-ROBUSTNESS_TABLE=build/robustness.jsonl $(BIN)/python -m pytest --junitxml build/robustness.xml $(if $(SOAK),-m '') tests/robustness
	$(BIN)/python docs/write_robustness.py build/robustness.jsonl build/robustness.xml docs/robustness.md

# Each dependency at its lower bound in setup.cfg. Old versions raise warnings: -W default.
LOWEST := tests/nets/test_base.py tests/backends tests/inference/test_predictor.py tests/cli/test_tables.py tests/ops tests/data/formats/test_coco.py \
	tests/inference/test_detections.py \
	tests/data/test_images.py tests/data/formats/test_tfrecord.py tests/evaluation/test_average_precision.py tests/evaluation/test_confusion.py \
	tests/evaluation/test_gallery.py tests/export/test_onnxmodel.py tests/training/test_config.py
test-lowest: .venv-lowest/installed
	.venv-lowest/bin/python -m pytest -W default -m 'not slow and not soak and not torch' $(LOWEST)

# TF Model Garden pins its TensorFlow, so it has a separate environment. It raises warnings: -W default.
test-garden: .venv-garden/installed
	.venv-garden/bin/python -m pytest -W default tests/garden

# Rewrites docs/parity.md from the parity tests of all models, with 30 random graphs instead of 4.
parity: .venv-garden/installed
	mkdir -p build && rm -f build/parity.jsonl
	PARITY_TABLE=build/parity.jsonl SPINENET_TF_GRAPHS=30 .venv-garden/bin/python -m pytest -W default -m '' tests/garden
	.venv-garden/bin/python docs/write_parity.py build/parity.jsonl docs/parity.md

# Compares with Model Garden, on an idle machine: half an hour, or five minutes. Writes benchmarks/results.md and results.json.
bench: .venv-garden/installed
	.venv-garden/bin/python -m benchmarks --plots docs/images
bench-quick: .venv-garden/installed
	.venv-garden/bin/python -m benchmarks --quick --results build/bench-quick.json

# Measures the mobile models as .tflite files beside a YOLOv8n in ONNX, and rewrites docs/phones.md: ten minutes on an idle
# machine, then half an hour of training; or five minutes for one model, without the docs. The license of the YOLOv8n is
# AGPL-3.0, so its wheel is read and not installed, and no part of it is copied.
PHONES := $(BIN)/python -m benchmarks.phones
YOLO := build/phones/nudenet-3.4.2-py3-none-any.whl
phones: .venv/installed-test $(YOLO)
	$(PHONES) runs/phones $(YOLO)
	$(BIN)/python docs/write_phones.py benchmarks/phones.jsonl docs/phones.md
phones-quick: .venv/installed-test $(YOLO)
	$(PHONES) runs/phones $(YOLO) --quick --only spinenet_mobile_49xs_lite

# Trains each head on one backbone and the same data, and rewrites docs/heads.md: an idle machine for the latency at the end.
heads: .venv/installed-test
	$(BIN)/python -m benchmarks.heads runs/heads
	$(BIN)/python docs/write_heads.py benchmarks/heads.jsonl docs/heads.md

# Compares int8 files with those of ai-edge-quantizer: make second-opinion RUNS=runs/demo
second-opinion: .venv/installed-demo .venv-quantizer/installed
	$(BIN)/python -m benchmarks.second_opinion $(RUNS)

# tensorflow-addons needs TensorFlow 2.15 and Python 3.11: the tests call it in a separate process and environment.
test-addons: .venv/installed-test .venv-addons/installed
	$(BIN)/python -m pytest tests/addons

# MediaPipe brings 660 MB and needs libegl1 and libgles2 of Debian: the tests run it in a separate process and environment.
test-mediapipe: .venv/installed-test .venv-mediapipe/installed
	$(BIN)/python -m pytest tests/mediapipe

# LiteRT's build for ARM64, in an emulator. `.venv` exports the files, and runs them for comparison.
test-arm: .venv/installed-test .venv-arm/installed
	$(BIN)/python -m pytest tests/arm

# Rewrites the table of differences in docs/phones.md, with all files on all emulated processors instead of int8 files.
arm: .venv/installed-test .venv-arm/installed
	mkdir -p build
	ARM_TABLE=build/arm.json $(BIN)/python -m pytest tests/arm
	$(BIN)/python docs/write_arm.py build/arm.json docs/phones.md

# The site of the docs in build/docs/site. Its tools read the package without importing it, so their environment has no
# TensorFlow, and their versions do not restrict ours. export/ and configs/ are copied to where they are installed.
docs: .venv-docs/installed
	rm -rf build/docs
	mkdir -p build/docs/pages build/docs/package
	tar -cf - *.md LICENSE docs benchmarks/*.md export/static/detector.js | tar -xf - -C build/docs/pages
	cp -r spinenet_tf build/docs/package
	cp -r export configs build/docs/package/spinenet_tf
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

# PyTorch and its CUDA libraries take several GB, and the package has to work without TensorFlow: a separate environment
# has only them, Keras and the package. The tests compare with TensorFlow, so they run in .venv.
test-torch: .venv/installed-test .venv-torch/installed
	$(BIN)/python -m pytest -m torch tests/backends tests/ops/test_backends.py

# mypy and import-linter do not follow the package_dir of an editable install, so they check an installed copy, from outside
# the root. It is built in a separate folder, because other build folders may contain old files.
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
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit("spinenet_tf needs Python 3.11 to 3.13: make PYTHON=python3.12. Received: Python " + v)'
	$(PYTHON) -m venv .venv
	touch $@

.venv-garden/installed: setup.cfg pyproject.toml | .venv/installed-test
	@echo "Installing TF Model Garden into .venv-garden (a few minutes the first time)"
	$(BIN)/python -m venv .venv-garden
	.venv-garden/bin/python $(INSTALL) --editable '.[garden]' grain hypothesis keras-hub pytest
	touch $@

# The lower bounds are pip constraints, so pip reports bounds that are incompatible. NumPy's bound needs Python 3.11 or 3.12.
.venv-lowest/installed: setup.cfg pyproject.toml
	@echo "Installing the oldest dependencies into .venv-lowest (a minute or two the first time)"
	$(or $(PYTHON311),$(PYTHON)) -m venv .venv-lowest
	sed -nE 's/^ +([A-Za-z0-9-]+)>=([0-9.]+)$$/\1==\2/p' setup.cfg > .venv-lowest/lowest.txt
	.venv-lowest/bin/python $(INSTALL) --constraint .venv-lowest/lowest.txt --editable '.[test]'
	touch $@

.venv-docs/installed: setup.cfg | .venv/created
	@echo "Installing the tools for the docs into .venv-docs"
	$(BIN)/python -m venv .venv-docs
	sed -n '/^docs =/,/^[a-z]/s/^    //p' setup.cfg > .venv-docs/requirements.txt
	.venv-docs/bin/python $(INSTALL) --requirement .venv-docs/requirements.txt
	touch $@

.venv-addons/installed: tests/addons/requirements.txt
ifeq ($(PYTHON311),)
	@echo "Python 3.11 was not found: tests/addons are skipped"
else
	$(PYTHON311) -m venv .venv-addons
	.venv-addons/bin/python $(INSTALL) --requirement $<
	touch $@
endif

.venv-mediapipe/installed: tests/mediapipe/requirements.txt | .venv/installed-test
	@echo "Installing MediaPipe into .venv-mediapipe (a minute or two the first time)"
	$(BIN)/python -m venv .venv-mediapipe
	.venv-mediapipe/bin/python $(INSTALL) --requirement $<
	touch $@

# The quantizer pins ai-edge-litert, and the figures of docs/phones.md are those of this version.
.venv-quantizer/installed: | .venv/created
	@echo "Installing ai-edge-quantizer into .venv-quantizer"
	$(BIN)/python -m venv .venv-quantizer
	.venv-quantizer/bin/python $(INSTALL) ai-edge-quantizer==0.10.0
	touch $@

# Without Debian's apt-get the tests are skipped, except in CI.
.venv-arm/installed: tests/arm/install.sh setup.cfg | .venv/installed-test
	@echo "Downloading qemu, Python and LiteRT for ARM64 into .venv-arm (a minute)"
	tests/arm/install.sh .venv-arm $(BIN)/python && touch $@ || test -z "$(CI)"

.venv-torch/installed: setup.cfg pyproject.toml | .venv/created
	@echo "Installing PyTorch into .venv-torch (several minutes and GB the first time)"
	$(BIN)/python -m venv .venv-torch
	.venv-torch/bin/python $(INSTALL) 'keras>=3.15.1' pytest torch
	.venv-torch/bin/python $(INSTALL) --no-deps --editable .
	touch $@

$(YOLO): | .venv/created
	$(BIN)/python -m pip -qq --disable-pip-version-check download --no-deps --dest $(@D) nudenet==3.4.2

.venv/installed-%: setup.cfg pyproject.toml | .venv/created
	@echo "Installing spinenet_tf[$*] into .venv (a few minutes the first time)"
	$(BIN)/python $(INSTALL) --editable '.[$*]'
	touch $@
