"""The changes that README and docs/ show as diffs are all it takes: a copy with them trains, resumes and predicts."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, assert_same_run, read_checkpoint

TEXT = ''.join((ROOT / page).read_text(encoding='utf-8') for page in ('README.md', 'docs/changes.md'))
DIFFS = re.findall(r'^```diff\n--- a/(.+)\n\+\+\+ b/\1\n@@\n(.*?)^```', TEXT, re.M | re.S)
RUN = """
import json, sys
import convnet_pytorch, training.plots
import train_convnet_pytorch as script
from predict import load_network

convnet_pytorch.LAYERS = [n if n == 'M' else n // 16 for n in convnet_pytorch.LAYERS]  # quick
for name in ('draw_curves', 'draw_predictions', 'draw_filters'):
    setattr(training.plots, name, lambda *args: None)

data_dir, whole, resumed = sys.argv[1:]
own = ['--optimizer', 'rmsprop', '--augment', 'noise', '--precision', 'fp32', '--data_dir', data_dir, '--quiet']
for out_dir, *more in [(whole, '4'), (resumed, '2'), (resumed, '4', '--resume')]:
    argv = [*own, '--batch_size', '4', '--eval_freq', '2', '--out_dir', out_dir, '--max_steps', *more]
    script.train(script.parse_flags(argv))
assert any(type(layer).__name__ == 'Dropout2d' for layer in load_network(resumed).model.modules())
print(load_network(resumed).evaluate()[0], json.load(open(f'{resumed}/summary.json'))['test_loss'])
"""


def applied(text, diff):
    """The text with the lines of a diff in the place of those that it takes away, which occur once."""
    old, new = (''.join(line[1:] for line in diff.splitlines(True) if line[0] in marks) for marks in (' -', ' +'))
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    """The code with all diffs applied."""
    folder = tmp_path_factory.mktemp('copy')
    for path in [*ROOT.glob('*.py'), *ROOT.glob('training/*.py'), *ROOT.glob('data/*.py')]:
        (folder / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    for name, diff in DIFFS:
        (folder / name).write_text(applied((folder / name).read_text(), diff))
    return folder


def test_an_optimiser_an_augmentation_and_a_layer_of_ones_own(copy, data_dir, tmp_path):
    assert len(DIFFS) == 3 and max(diff.count('\n') for _, diff in DIFFS) <= 12
    script = [sys.executable, '-c', RUN, data_dir, tmp_path / 'whole', tmp_path / 'resumed']
    found = subprocess.run(script, cwd=copy, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    evaluated, in_summary = found.stdout.split()
    assert evaluated == in_summary
    assert_same_run(tmp_path / 'resumed', tmp_path / 'whole')
    state = read_checkpoint(tmp_path / 'whole' / 'checkpoint.pt')
    assert 'square_avg' in state['optimizer']['state'][0]  # RMSprop's
    assert 'generator' in state['augment']
