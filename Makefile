# Each of these works on its own on a fresh machine:
#   make demo             pre-train a small model on generated images
#   make demo DATA=DIR    the same on the images in DIR
#   make demo-cls         classify with its encoder: linear and fine-tuned
#   make demo-det         detect and segment objects with its encoder
#   make demo-seg         segment scenes with its encoder
#   make test             lint, type checks and all tests
#   make test-original    what needs no compiled operators, beside the originals
#                         of OpenMMLab (mmengine 0.10.7, torch 2.1)
#   make torture          kill training runs at bad moments; takes half an hour
#   make bench            measure everything on the CPU; takes 15 minutes
#   make docs             build the documentation as pages of HTML
#   make lint             only ruff and mypy
#   make clean            remove the environment and caches (never work_dirs)

PYTHON ?= python3
VENV_PYTHON = .venv/bin/python
export DATA

.PHONY: demo demo-cls demo-det demo-seg test test-original torture bench docs lint clean

demo:
	@$(PYTHON) -m setup_env demo
	@$(VENV_PYTHON) tools/demo.py $${DATA:+--data "$$DATA"}

ENCODER = work_dirs/demo/epoch_38.pth
$(ENCODER):
	@$(MAKE) --no-print-directory demo DATA=

demo-cls: $(ENCODER)
	@$(PYTHON) -m setup_env demo
	@$(VENV_PYTHON) tools/demo_transfer.py cls

# Detection and segmentation need the compiled operators of mmcv.
demo-det demo-seg: demo-%: $(ENCODER)
	@$(PYTHON) -m setup_env test
	@$(VENV_PYTHON) tools/demo_transfer.py $*

# One thread in each of the test processes: they share the cores.
PYTEST = OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n auto --dist worksteal
# What needs the compiled operators of mmcv. While they are compiled, lint and
# the other tests run.
OPS_TESTS = $(addprefix tests/, test_configs_detection.py test_tutorial.py \
	test_engine/test_layer_decay.py test_evaluation/test_lvis_metric.py \
	test_models/test_vitdet.py test_tools/test_demo_transfer.py \
	test_weights/test_grid.py)
LINT = $(MAKE) --no-print-directory lint

test:
	@$(PYTHON) -m setup_env demo
	@if $(VENV_PYTHON) -c 'import mmcv.ops' 2>/dev/null; \
	then $(LINT) && $(PYTEST); \
	else $(PYTHON) -m setup_env test --meanwhile \
		'$(LINT) && $(PYTEST) $(OPS_TESTS:%=--ignore=%)' && \
		$(PYTEST) $(OPS_TESTS); fi

# In .venv-original, beside mmengine, mmcv-lite, mmpretrain and openmim.
ORIGINAL_TESTS = $(addprefix tests/, test_import.py test_mim.py test_masking \
	test_saliency test_models test_weights test_golden test_datasets \
	test_tools/test_train.py test_tools/test_demo.py \
	$(addprefix test_engine/test_, mask_statistics_hook.py methods.py \
	resumed_schedule.py saliency_update_hook.py schedules_in_runs.py \
	sources starting_weights.py whole_images.py))
test-original:
	@$(PYTHON) -m setup_env original
	@OMP_NUM_THREADS=1 .venv-original/bin/python -m pytest -n auto \
		--dist worksteal -m 'not compiles' $(ORIGINAL_TESTS)

torture:
	@$(PYTHON) -m setup_env demo
	@OMP_NUM_THREADS=1 $(VENV_PYTHON) tests/torture.py

bench:
	@$(PYTHON) -m setup_env demo
	@$(VENV_PYTHON) tools/benchmark.py --items default --rounds 5 \
		--json docs/performance.json --page docs/performance.md

docs:
	@$(PYTHON) -m setup_env demo
	@$(VENV_PYTHON) -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo docs/_build/index.html

lint:
	@$(PYTHON) -m setup_env demo
	@$(VENV_PYTHON) -m ruff check
	@$(VENV_PYTHON) -m mypy

clean:
	rm -rf .venv .venv-original build dist amt_mm.egg-info docs/_build
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find amt_mm configs setup_env tests tools -name __pycache__ \
		-type d -prune -exec rm -rf {} +
