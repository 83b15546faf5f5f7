# make help lists the targets. The first two are all that a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUNDLE := .build/lorair-bundle
SHIPPED := runtime/bundle/default
PHOTO := examples/rain.jpg
# Only the order: the tests' own seeds stay.
SHUFFLE := $(if $(ORDER),-p randomly --randomly-dont-reset-seed $(if $(SEED),--randomly-seed=$(SEED)))

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types contracts unit kernels gpu-check gpu-wheels bindings cuda-oldest pycuda webgpu webgpu-check triton triton-check tools-check serve-check signal-check scale-check fuzz bench bench-quick default-bundle dist numbers clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/cpu  ## restore an example photo with the default model, without PyTorch
	@$(BIN)/lorair-run infer $(PHOTO) --bundle default -o .build/rain.restored.png --compare
	@echo "Restored: $(abspath .build/rain.restored.png)"
	@echo "Before and after: $(abspath .build/rain.compare.png)"
	@echo "Now yours:        $(BIN)/lorair-run infer photo.jpg"
	@echo "In the browser:   $(BIN)/pip install -e '.[serve]' && $(BIN)/lorair-run serve"

test: lint types contracts unit  ## lint, types, import contracts and the tests

lint: $(VENV)/dev  ## ruff: style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev  ## ruff: repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tools that read the code do not see through the package-dir map; a tree of links shows them
# the packages under their real names.
.PHONY: tree
tree: $(VENV)/dev
	@rm -rf .typecheck && mkdir -p .typecheck/lorair
	@ln -s ../../lorair/__init__.py ../../lorair/py.typed .typecheck/lorair/
	@for d in runtime kernels exporter benchmarks; do ln -s ../../$$d .typecheck/lorair/$$d; done
	@ln -s ../training .typecheck/training

types: tree  ## mypy --strict
	cd .typecheck && MYPYPATH=. ../$(BIN)/mypy --config-file ../pyproject.toml -p lorair -p training

contracts: tree  ## import-linter: who may import whom
	cd .typecheck && PYTHONPATH=. ../$(BIN)/lint-imports --no-logo --config ../pyproject.toml

# A worker that died would get the test that killed it again, and its next place would too.
# Hundreds of child processes would each compile the packages again where nothing is kept.
unit: $(VENV)/dev  ## pytest, a worker a core; ORDER=random: and SEED=N repeats one
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n auto --dist loadfile --max-worker-restart 0 $(SHUFFLE)

kernels: $(VENV)/dev  ## compile every kernel for every GPU, as the tests do with a few: ten minutes
	LORAIR_KERNELS=all $(BIN)/pytest tests/kernels/test_aot.py

# With what is installed: a machine with a GPU may have no package index.
gpu-check:  ## ten minutes on a GPU: kernels, walk, backends, times; DRIVER=1: without a GPU
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -P tests/support/gpu_check.py $(if $(DRIVER),--driver) .build/gpu-check

gpu-wheels: $(VENV)/dev  ## fetch what a GPU machine lacks; HAVE=FILE: `pip list --format=freeze` there
	$(BIN)/python tests/support/gpu_wheels.py $(HAVE) .build/gpu-wheels

bindings: .build/bindings/11.4.0.106  ## fetch TensorRT's Python bindings for the tests alone, three versions
cuda-oldest: .build/cuda-oldest/cuda  ## fetch the oldest cuda-core and cuda-bindings for the tests alone
pycuda: .build/pycuda/lib/pycuda  ## build PyCUDA for the tests alone, where g++ is: two minutes
webgpu: .build/webgpu/onnxruntime  ## install onnxruntime-webgpu for the tests alone: it excludes onnxruntime

webgpu-check: $(VENV)/dev webgpu  ## any GPU's backend on the software GPU of Chromium: a few minutes
	$(BIN)/pytest -m webgpu tests/runtime/backends/test_webgpu.py

tools-check: $(VENV)/dev  ## other people's tools on our graphs, each as documented, and experts of the default model: two minutes
	LORAIR_TOOLS=all $(BIN)/pytest -m '' tests/exporter/polygraphy tests/exporter/test_experts.py \
	  tests/exporter/graphs/test_simplified.py tests/docs/test_onnx_tools.py

triton: .build/triton/lib/pytriton  ## fetch NVIDIA's Triton Inference Server for the tests alone

triton-check: $(VENV)/dev triton  ## the model repository on the real Triton server: a minute
	$(BIN)/pytest -m triton tests/exporter/triton_server/test_server.py

signal-check: $(VENV)/dev  ## SIGTERM at 100 random moments of four commands: ten minutes
	$(BIN)/lorair-export build -o $(BUNDLE)
	$(BIN)/python tests/support/signal_check.py $(BUNDLE)

serve-check: $(VENV)/dev  ## the server's long checks: load, SIGTERM under it, 10,000 bodies, wrk, slow clients
	$(BIN)/lorair-export build -o $(BUNDLE)
	for check in load term fuzz wrk slow; do $(BIN)/python tests/support/serve_check.py $$check $(BUNDLE) || exit 1; done

scale-check: $(VENV)/dev  ## 500 pictures and a server on Ray, with kills and two nodes: ten minutes
	$(BIN)/pytest -m scale tests/scale

fuzz: $(VENV)/dev  ## fuzz everything in tests/fuzz, ten minutes each (Linux); findings in .build/fuzz
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt 'atheris>=3'
	@mkdir -p .build/fuzz
	for target in tests/fuzz/*.py; do name=$$(basename $$target .py); \
	  $(BIN)/python $$target -max_total_time=600 -timeout=5 -rss_limit_mb=1024 \
	    -artifact_prefix=.build/fuzz/$$name- .build/fuzz/$$name || exit 1; done

bench: $(VENV)/dev  ## measure again everything in docs/benchmarks.md, full size: an hour and a half
	benchmarks/full-size.sh
	@$(MAKE) -s numbers

bench-quick: $(VENV)/export  ## time every stage of the default bundle
	$(BIN)/lorair-export build -o $(BUNDLE)
	$(BIN)/lorair-bench latency --bundle $(BUNDLE)

default-bundle: $(VENV)/export  ## build the bundle in the package from the default model's weights
	@rm -rf $(SHIPPED)
	$(BIN)/lorair-export build -o $(SHIPPED)

dist: $(VENV)/bin/python  ## build sdist and wheel, check them, and restore a photo with each in a fresh environment
	@rm -rf dist build && mkdir -p .build
	$(PYTHON) -m venv --clear .build/fresh
	.build/fresh/bin/pip install -q --disable-pip-version-check build twine
	.build/fresh/bin/python -m build -o dist . >/dev/null
	.build/fresh/bin/twine check --strict dist/*
	@for file in dist/*; do $(PYTHON) -m venv --clear .build/fresh && \
	  .build/fresh/bin/pip install -q --disable-pip-version-check -c constraints.txt "$$file[cpu]" && \
	  (cd .build && fresh/bin/lorair-run infer $(abspath $(PHOTO)) -b default -o dist.png) || exit 1; done

numbers: $(VENV)/dev  ## put the results into README and docs
	$(BIN)/python -m lorair.benchmarks.docs.fill

clean:  ## remove everything that make made
	rm -rf $(VENV) .build .typecheck build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# Nothing of what it needs: the tests' own environment has it.
.build/webgpu/onnxruntime: constraints.txt | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	  --target $(@D) -c constraints.txt onnxruntime-webgpu
	@touch $@

# The Python backend's process wants NumPy 1. The server has no other backend.
.build/triton/lib/pytriton: | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	  --target $(@D) nvidia-pytriton==0.7.0 'numpy<2'
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	  --target .build/triton/client geventhttpclient gevent zope.event zope.interface brotli
	@touch $@

.build/bindings/11.4.0.106: | $(VENV)/bin/python
	@for one in cu12-bindings==10.3.0 cu13-bindings==10.16.1.11 cu13-bindings==11.4.0.106; do \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	    --target $(@D)/$${one##*=} tensorrt-$$one || exit 1; done

.build/cuda-oldest/cuda: pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	  --target $(@D) cuda-core==1.0.0 cuda-bindings==13.2.0
	@touch $@

# Linked against the tests' driver. It is in no wheel; without optimisation it takes a third less.
.build/pycuda/lib/pycuda: | $(VENV)/bin/python
	@rm -rf .build/pycuda && mkdir -p .build/pycuda/source .build/pycuda/headers
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --target .build/pycuda/headers nvidia-cuda-runtime nvidia-cuda-profiler-api
	@$(CXX) -x c -shared -fPIC -Wl,-soname,libcuda.so.1 -o .build/pycuda/libcuda.so \
	  tests/support/cuda_driver.c -isystem .build/pycuda/headers/nvidia/cu13/include
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --target .build/pycuda/lib pytools siphash24
	@$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --no-binary pycuda \
	  -d .build/pycuda pycuda==2026.1
	@tar xzf .build/pycuda/pycuda-2026.1.tar.gz -C .build/pycuda/source --strip-components 1
	@cd .build/pycuda/source && $(abspath $(BIN))/python configure.py --no-cuda-enable-curand \
	  --cuda-inc-dir=$(abspath .build/pycuda/headers/nvidia/cu13/include) \
	  --cudadrv-lib-dir=$(abspath .build/pycuda) --cxxflags=-O0,-g0
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	  --target .build/pycuda/lib ./.build/pycuda/source
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lorair needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "the venv module is missing; on Debian: apt install python3-venv" >&2; exit 2; }

# One stamp for each set of extras; each holds everything that the one before has.
$(VENV)/cpu: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing lorair into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[cpu]'
	@touch $@

$(VENV)/export: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing lorair with its exporter into $(VENV) (PyTorch is 200 MB or more) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[cpu,export]'
	@touch $@ $(VENV)/cpu

$(VENV)/dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing lorair with its development tools into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[cpu,export,dev]'
	@touch $@ $(VENV)/export $(VENV)/cpu
