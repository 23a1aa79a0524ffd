# `make demo` and `make test` install what they need the first time and reuse it afterwards.
PYTHON ?= python3.11
BLENDER_VERSIONS := 4.2.23 4.5.15 5.0.1
DEMO_BLENDER := 4.5.15
MESH ?=

BACKEND := .venv/bin/python
EXTENSION := dist/fairfield.zip
MYPY = $(CURDIR)/.venv/bin/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

export FAIRFIELD_BACKEND_PYTHON := $(CURDIR)/$(BACKEND)
export FAIRFIELD_ZIP := $(CURDIR)/$(EXTENSION)
export FAIRFIELD_SHARED ?= $(CURDIR)/../shared

EXTENSION_SOURCES := $(shell find blender_addon backend/fairfield -name '*.py') \
	__init__.py blender_manifest.toml constraints.txt constraints-hashed.txt LICENSE \
	scripts/build_extension.py

.PHONY: demo test test-backend lint types extension validate benchmark clean
.SECONDARY:

demo: .venv/installed .blender/$(DEMO_BLENDER)/installed $(EXTENSION)
	.blender/$(DEMO_BLENDER)/bin/python scripts/demo.py $(if $(MESH),"$(MESH)")

test: test-backend $(BLENDER_VERSIONS:%=test-blender-%)

test-backend: .venv/installed $(EXTENSION)
	$(BACKEND) -m pytest tests/engine tests/client tests/fuzz tests/faults

test-blender-%: .venv/installed .blender/%/installed $(EXTENSION)
	.blender/$*/bin/python -m pytest tests/blender

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/installed
	$(BACKEND) scripts/build_extension.py --stage
	cd build/fairfield_extension/backend && $(MYPY) -p fairfield
	cd build && $(MYPY) -p fairfield_extension.blender_addon

extension: $(EXTENSION)

validate: $(EXTENSION)
	$(BACKEND) scripts/build_extension.py --validate

benchmark: .venv/benchmarks-installed .blender/$(DEMO_BLENDER)/installed
	for script in benchmarks/*.py benchmarks/rivals; do $(BACKEND) $$script || exit 1; done

clean:
	rm -rf .venv .blender build dist demo-output

.venv/installed: pyproject.toml constraints.txt constraints-dev.txt
	$(PYTHON) -m venv .venv
	$(BACKEND) $(PIP_INSTALL) -c constraints.txt -c constraints-dev.txt -e '.[dev]'
	touch $@

# What the figures and the rivals need besides; no check does.
.venv/benchmarks-installed: .venv/installed
	$(BACKEND) $(PIP_INSTALL) -c constraints.txt -c constraints-dev.txt -e '.[evaluate,rivals]'
	touch $@

.blender/%/installed: constraints-dev.txt
	$(PYTHON) -m venv .blender/$*
	.blender/$*/bin/python $(PIP_INSTALL) bpy==$* -c constraints-dev.txt pytest hypothesis
	touch $@

# Asks the package index, so it is only made when a pin has changed.
constraints-hashed.txt: constraints.txt
	$(BACKEND) scripts/hash_constraints.py

docs/licences.md: constraints.txt scripts/list_licences.py .venv/installed
	$(BACKEND) scripts/list_licences.py

# Also leaves what it packed in build/fairfield_extension, for the type checker.
$(EXTENSION): $(EXTENSION_SOURCES) .venv/installed .blender/$(DEMO_BLENDER)/installed
	$(BACKEND) scripts/build_extension.py
