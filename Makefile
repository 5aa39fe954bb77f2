# make demo | test | mutants | train | benchmark | report: each sets up a virtual environment first, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test mutants train benchmark report lint clean

demo: .venv/users
	$(BIN)/python train_mlp_numpy.py --dataset shapes10 --learning_rate 5e-4 --out_dir runs/demo/mlp_numpy --overwrite
	$(BIN)/python train_mlp_pytorch.py --dataset shapes10 --learning_rate 5e-4 --out_dir runs/demo/mlp_pytorch --overwrite
	$(BIN)/python train_convnet_pytorch.py --dataset shapes10 --max_steps 300 --eval_freq 100 --out_dir runs/demo/convnet_pytorch --overwrite
	$(BIN)/python experiments/table.py runs/demo/mlp_numpy runs/demo/mlp_pytorch runs/demo/convnet_pytorch
	@echo 'The MLPs are one network computed twice, in NumPy and in PyTorch: they agree to within a point, which is rounding.'
	@echo 'The ConvNet learns more in fewer steps: what it finds at one place of an image it knows everywhere.'

test: .venv/developers
	$(BIN)/python -m pytest -n 2 --dist loadfile

mutants: .venv/developers
	$(BIN)/python tests/mutants.py

lint: .venv/developers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

train: .venv/users
	$(BIN)/python train_mlp_numpy.py --resume
	$(BIN)/python train_mlp_pytorch.py --resume
	$(BIN)/python train_convnet_pytorch.py --resume

benchmark: .venv/developers
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

report: .venv/users
	@command -v latexmk > /dev/null || { echo 'make report needs TeX: apt install --no-install-recommends latexmk lmodern texlive-latex-extra' >&2; exit 1; }
	$(BIN)/python report/build.py
	cd report && latexmk -pdf -auxdir=generated -interaction=nonstopmode -halt-on-error -silent report.tex
	! grep -nE 'Warning|Overfull|Underfull|undefined' report/generated/report.log

clean:
	rm -rf .venv runs/demo

.venv/users: requirements.txt
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/developers: .venv/users requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
