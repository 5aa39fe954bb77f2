"""Input of any kind: flags, checkpoints and pictures give an answer or one clear line, and never run code."""

import argparse
import io
import zipfile

import numpy as np
import pytest
import torch
from conftest import CHECKPOINTS, SCRIPTS, Hostile, assert_same, failing_short_run, parse, short_run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_resume import interrupted_run

import predict
from training.errors import RunError
from training.files import reading
from training.flags import number
from training.numpy_machine import NumpyMachine
from training.torch_machine import TorchMachine

SOME = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# What users type, and what nobody does.
texts = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(['', '0', '-0', '-1', '1e400', 'NaN', 'Infinity', '１２', 'Ⅻ', 'é', '\x00', '1_000', ' 5']),
)


@SOME
@given(text=texts, low=st.integers(-3, 3), width=st.integers(0, 10), kind=st.sampled_from([int, float]))
def test_a_number_is_finite_and_within_its_bounds_or_refused(text, low, width, kind):
    try:
        value = number(kind, low, low + width)(text)
    except argparse.ArgumentTypeError as error:
        assert '\n' not in str(error)
    else:
        assert type(value) is kind and low <= value <= low + width


@pytest.mark.parametrize('script', SCRIPTS)
@settings(SOME, max_examples=300)
@given(data=st.data())
def test_any_value_of_any_flag_is_taken_or_refused_in_one_line(capsys, script, data):
    flag = data.draw(st.sampled_from(sorted(vars(parse(script)))))
    text = data.draw(texts)
    capsys.readouterr()
    try:
        parse(script, f'--{flag}={text}')
    except SystemExit as exit:
        err = capsys.readouterr().err
        assert exit.code == 2
        assert err.endswith('\n') and f'--{flag}' in err
        assert err.count('\n') == 1


# Checkpoints


@pytest.fixture(scope='module')
def checkpoints(data_dir, tmp_path_factory):
    """The bytes of a checkpoint of each MLP, by script."""
    folder, found = tmp_path_factory.mktemp('checkpoints'), {}
    for script in SCRIPTS[:2]:
        short_run(script, data_dir, folder / script, '--quiet')
        found[script] = (folder / script / CHECKPOINTS[script]).read_bytes()
    return found


def load(script, path):
    machine = NumpyMachine if script == 'train_mlp_numpy' else TorchMachine
    with reading(path):
        return machine(parse(script)).load(path)


@pytest.mark.parametrize('script', SCRIPTS[:2])
@settings(SOME, max_examples=100)
@given(data=st.data())
def test_a_changed_checkpoint_is_refused_or_the_same(checkpoints, tmp_path, script, data):
    good = checkpoints[script]
    changed = bytearray(good[: data.draw(st.integers(0, len(good)))] if data.draw(st.booleans()) else good)
    for place, bits in data.draw(st.lists(st.tuples(st.integers(0, len(good)), st.integers(1, 255)), max_size=5)):
        if place < len(changed):
            changed[place] ^= bits
    path = tmp_path / CHECKPOINTS[script]
    path.write_bytes(changed)
    try:
        state = load(script, path)
    except RunError as error:
        assert '\n' not in str(error)
        return
    path.write_bytes(good)
    assert_same(state, load(script, path))


def bomb():
    """A zip file of 100 kB that unpacks to 100 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('model.layer0.weight.npy', bytes(10**8))
    return file.getvalue()


def overlapping_bomb():
    """A zip file of 200 kB that unpacks to 100 MB: a thousand files that are the same 100 kB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('model.layer0.weight.npy', bytes(10**5))
        archive.filelist *= 1000
    return file.getvalue()


@pytest.mark.parametrize('bomb', [bomb, overlapping_bomb])
@pytest.mark.parametrize('script', SCRIPTS)
def test_a_checkpoint_that_unpacks_to_more_than_its_size(quick, monkeypatch, capsys, data_dir, tmp_path, script, bomb):
    interrupted_run(monkeypatch, 'after_step', 3, script, data_dir, tmp_path)
    (tmp_path / CHECKPOINTS[script]).write_bytes(bomb())
    monkeypatch.setattr(zipfile.ZipFile, 'testzip', lambda *args: pytest.fail('it was unpacked'))
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: pytest.fail('it was unpacked'))
    monkeypatch.setattr(np.lib.npyio.NpzFile, '__getitem__', lambda *args: pytest.fail('it was unpacked'))
    status, line = failing_short_run(capsys, script, data_dir, tmp_path, '--resume')
    assert status == 1 and 'damaged' in line


@pytest.mark.parametrize(
    'change',
    [
        {'flags': {}},
        {'flags': {'dnn_hidden_units': 'many'}},
        {'flags': {'dnn_hidden_units': [10**9]}},
        {'model': {}},
        {'model': {'layers.0.weight': torch.zeros(3)}},
        {'model': None},
        {'normalisation': {}},
        {'normalisation': {'mean_image': 'none', 'std': None}},
        {'normalisation': {'mean_image': torch.zeros(3, 32, 32), 'std': torch.zeros(7)}},
    ],
)
def test_the_checkpoint_of_another_version_is_one_line(checkpoints, tmp_path, change):
    path = tmp_path / 'checkpoint.pt'
    path.write_bytes(checkpoints['train_mlp_pytorch'])
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(RunError) as error:
        predict.load_network(path)
    assert '\n' not in str(error.value) and str(path) in str(error.value)


def test_a_hostile_checkpoint_runs_nothing(tmp_path):
    torch.save({'model': Hostile(tmp_path / 'it ran')}, tmp_path / 'checkpoint.pt')
    with pytest.raises(RunError):
        predict.load_network(tmp_path)
    assert not (tmp_path / 'it ran').exists()


# Pictures


def picture(kind):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


PICTURES = [picture(kind) for kind in ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'ICO', 'TGA')]


@settings(SOME, max_examples=400)
@given(
    good=st.sampled_from(PICTURES),
    changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 1000),
)
@example(good=b'', changes=[], cut=0)
@pytest.mark.filterwarnings('ignore')
def test_a_broken_picture_is_read_or_refused(tmp_path, good, changes, cut):
    content = bytearray(good[:cut])
    for place, value in changes:
        if place < len(content):
            content[place] = value
    path = tmp_path / 'picture'
    path.write_bytes(content)
    try:
        pixels = predict.read_picture(path)
    except RunError as error:
        assert '\n' not in str(error) and str(path) in str(error)
    else:
        assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8
