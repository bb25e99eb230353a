# make demo    compile a trained model, check it, compare it with onnxruntime
# make test    format, lint, types, import rules, all tests but the slow ones
# make test-slow   the slow ones: many more drawn cases, ONNX's own node tests, every model on every board
# make test-emulator   libraries for other processors in QEMU, GPU kernels in OpenCL
# make notebooks   run the notebooks from top to bottom
# PYTHON       the interpreter of the virtual environment (3.11 to 3.13)

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: demo test test-slow test-emulator notebooks clean

demo: $(INSTALLED)
	$(VENV)/bin/tunesmith demo

test: $(INSTALLED)
	sh scripts/install-test-tools.sh
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pytest -n auto -m "not slow and not emulator and not notebook"

test-slow: $(INSTALLED)
	$(VENV)/bin/pytest -n auto -m slow

test-emulator: $(INSTALLED)
	sh scripts/install-test-tools.sh
	$(VENV)/bin/pytest -n auto -m "emulator and not slow"

# One after another: they time kernels.
notebooks: $(INSTALLED)
	sh scripts/install-test-tools.sh
	$(VENV)/bin/pytest -m notebook --durations 0 tests/notebooks

# Made again only when what is to be installed changes.
$(INSTALLED): pyproject.toml
	sh scripts/create-environment.sh "$(PYTHON)" "$(VENV)"
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build demo-output
