"""A trained network in use: any run read back, any picture named, one clear line for what is none."""

import functools
import importlib
import json
import re

import numpy as np
import pytest
import torch
from batches import write_folder
from PIL import Image

import predict
from cifar10_utils import CLASS_NAMES
from data import shapes10
from experiments import speedrun
from predict import load_network
from training.data import class_names
from training.errors import RunError, UsageError

COMMON = '--max_steps 2 --eval_freq 1 --batch_size 10 --quiet'
RUNS = {  # kind of run: flags that change how it is evaluated
    'train_mlp_numpy': f'{COMMON} --dnn_hidden_units 8 --dtype float64',
    'train_mlp_pytorch': f'{COMMON} --dnn_hidden_units 8 --ema 0.5 --standardize --init xavier --precision fp32',
    'train_convnet_pytorch': f'{COMMON} --precision bf16',
    'experiments.best_mlp': f'{COMMON} --dnn_hidden_units 8 --precision fp32',
    'experiments.best_convnet': f'{COMMON} --precision fp32',
    'experiments.speedrun': '--quiet --epochs 0.4 --precision fp32',
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    """More test images than fit into one chunk of a ConvNet."""
    folder = tmp_path_factory.mktemp('data') / 'cifar-10-batches-py'
    write_folder(folder, n_train=10, n_test=300)
    return folder


@pytest.fixture(scope='module', autouse=True)
def small():
    """Networks that are quick to train and to evaluate."""
    import convnet_pytorch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convnet_pytorch, 'LAYERS', [n if n == 'M' else n // 16 for n in convnet_pytorch.LAYERS])
        patch.setattr(speedrun, 'SpeedNet', functools.partial(speedrun.SpeedNet, widths=(32, 64, 64)))
        patch.setattr(speedrun, 'BATCH_SIZE', 10)
        patch.setattr(speedrun, 'matrix_product_rate', lambda machine: 1.0)
        for name in ('draw_curves', 'draw_predictions', 'draw_filters'):
            patch.setattr(f'training.plots.{name}', lambda *args: None)
        yield


def train(script, out_dir, data_dir, argv):
    module = importlib.import_module(script)
    flags = module.parse_flags([*argv.split(), '--data_dir', str(data_dir), '--out_dir', str(out_dir)])
    module.train(flags)
    return out_dir


@pytest.fixture(scope='module')
def run(tmp_path_factory, data_dir):
    """A function that gives the run folder of a script, trained once."""
    folder = tmp_path_factory.mktemp('runs')
    return functools.cache(lambda script: train(script, folder / script, data_dir, RUNS[script]))


def answers(capsys, *argv):
    """{path: {class: probability}} as printed."""
    predict.predict(predict.parse_flags([*map(str, argv)]))
    lines = [line.split(': ') for line in capsys.readouterr().out.splitlines()]
    return {path: {a.split()[0]: float(a.split()[1]) for a in rest.split(', ')} for path, rest in lines}


@pytest.mark.parametrize('script', RUNS)
def test_a_run_read_back_has_the_figures_of_its_summary(script, run):
    summary = json.loads((run(script) / 'summary.json').read_text())
    assert load_network(run(script)).evaluate() == (summary['test_loss'], summary['test_accuracy'])


def test_the_chunks_are_those_of_the_run(data_dir, tmp_path):
    """Question 3's batch normalisation lets the figures depend on them."""
    argv = f'{COMMON} --batch_norm manual --dnn_hidden_units 8 --precision fp32 --learning_rate 0.1'
    out_dir = train('train_mlp_pytorch', tmp_path, data_dir, argv)
    network = load_network(out_dir)
    loss, accuracy = network.evaluate()
    summary = json.loads((out_dir / 'summary.json').read_text())
    assert (loss, accuracy) == (summary['test_loss'], summary['test_accuracy'])
    network.chunk = 250
    assert network.evaluate()[0] != loss


def test_any_part_of_the_data_can_be_evaluated(data_dir, tmp_path):
    out_dir = train('train_mlp_numpy', tmp_path, data_dir, f'{RUNS["train_mlp_numpy"]} --validation_size 10')
    summary = json.loads((out_dir / 'summary.json').read_text())
    network = load_network(out_dir)
    expected = summary['validation_loss'], summary['validation_accuracy']
    assert network.evaluate(network.data['validation']) == expected


@pytest.mark.parametrize('script', RUNS)
def test_a_test_image_gets_the_probabilities_of_the_evaluation(script, run, tmp_path, capsys):
    network = load_network(run(script))
    test_set = network.data['test']
    pixels = test_set.pixels(slice(0, 5)).transpose(0, 3, 1, 2)
    probabilities = network.probabilities(pixels)
    losses = -np.log(probabilities[range(5), test_set.labels[:5]])
    five = type(test_set)(pixels, test_set.labels[:5], test_set.mean_image, test_set.std, one_hot=False)
    assert probabilities.shape == (5, 10) and np.allclose(probabilities.sum(1), 1)
    assert losses.mean() == pytest.approx(network.evaluate(five)[0], rel=1e-5)  # float32
    Image.fromarray(pixels[3].transpose(1, 2, 0)).save(tmp_path / 'three.png')
    printed = answers(capsys, tmp_path / 'three.png', '--checkpoint', run(script), '--top', '10')
    got = [printed[str(tmp_path / 'three.png')][name] for name in CLASS_NAMES]
    assert network.names == CLASS_NAMES
    atol = 1e-2 if 'bf16' in RUNS[script] else 6e-4  # products of 8 bits; or printed with three decimals
    assert np.allclose(got, probabilities[3], atol=atol)
    assert np.allclose(got, network.probabilities(pixels[3]), atol=6e-4)


def test_the_moving_average_is_what_answers(run):
    path = run('train_mlp_pytorch')
    state = torch.load(path / 'checkpoint.pt', weights_only=True)
    weight = load_network(path).model.layers[0].weight
    assert torch.equal(weight, state['ema']['module.layers.0.weight'])
    assert not torch.equal(weight, state['model']['layers.0.weight'])


def test_a_run_of_a_device_that_is_not_here_is_read_on_what_there_is(run, tmp_path):
    state = torch.load(run('train_mlp_pytorch') / 'checkpoint.pt', weights_only=True)
    state['flags']['device'] = 'cuda'
    torch.save(state, tmp_path / 'checkpoint.pt')
    assert load_network(tmp_path).machine.device.type == 'cpu'
    with pytest.raises(UsageError, match='--device cuda is not to be had'):
        load_network(tmp_path, device='cuda')


def test_the_home_folder_has_a_short_name(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))  # Windows
    (tmp_path / 'run').symlink_to(run('train_mlp_numpy'))
    Image.new('RGB', (32, 32)).save(tmp_path / 'black.png')
    assert '~/black.png' in answers(capsys, '~/black.png', '--checkpoint', '~/run')


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'P', 'LA', '1', 'CMYK', 'I;16'])
@pytest.mark.parametrize('size', [(1, 1), (32, 32), (300, 17)])
def test_any_picture_becomes_32_by_32(mode, size, tmp_path):
    path = tmp_path / ('picture.tif' if mode == 'CMYK' else 'picture.png')
    Image.new(mode, size).save(path)
    pixels = predict.read_picture(path)
    assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8


@pytest.mark.parametrize('suffix', ['png', 'tif', 'pgm'])
def test_16_bits_of_grey_are_read_as_their_upper_8(suffix, tmp_path):
    grey = np.arange(32 * 32).reshape(32, 32) // 4
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / 'eight.png')
    Image.fromarray((256 * grey + 77).astype(np.uint16)).save(tmp_path / f'sixteen.{suffix}')
    expected = predict.read_picture(tmp_path / 'eight.png')
    assert len(np.unique(expected)) == 256
    assert np.array_equal(predict.read_picture(tmp_path / f'sixteen.{suffix}'), expected)


@pytest.mark.parametrize('dtype', [np.int32, np.float32])
def test_a_picture_that_does_not_tell_its_scale_is_refused(dtype, tmp_path):
    Image.fromarray(np.eye(32, dtype=dtype)).save(tmp_path / 'measured.tif')
    with pytest.raises(RunError, match=r'measured\.tif has grey values of 32 bits'):
        predict.read_picture(tmp_path / 'measured.tif')


def test_the_centre_square_is_taken_and_transparency_is_white(tmp_path):
    picture = np.zeros((40, 120, 4), np.uint8)
    picture[:, 40:80] = (10, 200, 30, 255)  # the centre; the rest is transparent
    Image.fromarray(picture).save(tmp_path / 'centre.png')
    assert np.all(
        predict.read_picture(tmp_path / 'centre.png')[:, 2:-2, 2:-2] == np.array([10, 200, 30])[:, None, None]
    )
    Image.new('RGBA', (40, 40), (0, 0, 0, 0)).save(tmp_path / 'clear.png')
    assert np.all(predict.read_picture(tmp_path / 'clear.png') == 255)


def test_an_animation_gives_its_first_picture(tmp_path):
    frames = [Image.new('RGB', (32, 32), color) for color in ('red', 'blue')]
    frames[0].save(tmp_path / 'film.gif', save_all=True, append_images=frames[1:])
    assert predict.read_picture(tmp_path / 'film.gif')[:, 5, 5].tolist() == [255, 0, 0]


@pytest.mark.parametrize('content', [b'', b'no picture', b'\x89PNG\r\n\x1a\n broken'])
def test_what_is_no_picture_is_named_in_one_line(content, tmp_path):
    path = tmp_path / 'note.png'
    path.write_bytes(content)
    with pytest.raises(RunError, match=r'note\.png is no picture') as error:
        predict.read_picture(path)
    assert '\n' not in str(error.value)


def test_a_picture_that_may_not_be_read_is_no_broken_one(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr(predict.Image, 'open', refuse)  # root may read every file
    with pytest.raises(RunError, match=r'mine\.png may not be read: give yourself the right to'):
        predict.read_picture(tmp_path / 'mine.png')


def test_a_folder_is_no_broken_picture(tmp_path):
    with pytest.raises(RunError, match='is a folder: name the pictures in it'):
        predict.read_picture(tmp_path)


def test_a_picture_cut_off_in_the_middle_is_refused(tmp_path):
    Image.effect_noise((200, 200), 50).save(tmp_path / 'cut.png')
    path = tmp_path / 'cut.png'
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(RunError, match=r'cut\.png'):
        predict.read_picture(path)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, 'MAX_PIXELS', 99)
    Image.new('RGB', (10, 10)).save(tmp_path / 'big.png')
    with pytest.raises(RunError, match='10x10 pixels: expected at most 99'):
        predict.read_picture(tmp_path / 'big.png')


@pytest.mark.parametrize('side', [10_000, 30_000])
def test_a_photo_too_large_for_pillow_is_no_broken_one(tmp_path, side):
    (tmp_path / 'big.ppm').write_bytes(f'P6 {side} {side} 255\n'.encode())  # the header is enough
    with pytest.raises(RunError, match=f'{side}x{side} pixels: expected at most'):
        predict.read_picture(tmp_path / 'big.ppm')


def halves(width, height):
    """A picture that is green to the left and violet to the right."""
    picture = Image.new('RGB', (width, height), (40, 160, 40))
    picture.paste((160, 40, 160), (width // 2, 0, width, height))
    return picture


@pytest.mark.parametrize('format', ['JPEG', 'MPO'])
def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(format, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, 'MAX_PIXELS', 300 * 400)  # 1/8 of the side has 260 x 390
    halves(3120, 2080).save(tmp_path / 'phone.jpg', format)
    halves(3120, 2080).resize((30, 20)).save(tmp_path / 'small.png')
    got, expected = (predict.read_picture(tmp_path / name).astype(int) for name in ('phone.jpg', 'small.png'))
    assert np.abs(got - expected)[:, :, [*range(12), *range(20, 32)]].max() < 6  # JPEG rounds; the edge apart


def test_a_jpeg_that_takes_memory_however_small_it_is_decoded_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, 'MAX_PIXELS', 300 * 400)
    halves(3120, 2080).save(tmp_path / 'progressive.jpg', progressive=True)
    with pytest.raises(RunError, match='3120x2080 pixels: expected at most'):
        predict.read_picture(tmp_path / 'progressive.jpg')


def test_good_pictures_are_answered_although_others_are_bad(run, tmp_path, capsys):
    Image.new('RGB', (32, 32)).save(tmp_path / 'good.png')
    argv = [tmp_path / 'missing.png', tmp_path / 'good.png', '--checkpoint', run('train_mlp_numpy')]
    with pytest.raises(RunError, match=r'missing\.png is missing'):
        predict.predict(predict.parse_flags([*map(str, argv)]))
    assert 'good.png: ' in capsys.readouterr().out


def test_a_network_that_needs_a_batch_is_refused_for_one_picture(data_dir, tmp_path):
    argv = f'{COMMON} --batch_norm manual --dnn_hidden_units 8'
    network = load_network(train('train_mlp_pytorch', tmp_path, data_dir, argv))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    assert network.probabilities(pixels).shape == (2, 10)
    for one in (pixels[0], pixels[:1]):
        with pytest.raises(RunError, match='statistics of a batch'):
            network.probabilities(one)


@pytest.mark.parametrize(
    'content', [torch.zeros(3), [1, 2], {}, {'flags': None}, {'flags': {}, 'script': 'train_mlp_pytorch'}]
)
def test_a_checkpoint_of_something_else_is_one_line(content, tmp_path):
    torch.save(content, tmp_path / 'checkpoint.pt')
    with pytest.raises(RunError, match=r'checkpoint\.pt is no checkpoint of a run.*train_mlp_pytorch') as error:
        load_network(tmp_path)
    assert '\n' not in str(error.value)


def test_a_run_of_a_script_of_ones_own_is_named(run, tmp_path):
    state = torch.load(run('train_mlp_pytorch') / 'checkpoint.pt', weights_only=True)
    torch.save(state | {'script': 'train_transformer'}, tmp_path / 'checkpoint.pt')
    with pytest.raises(RunError, match=r'is of train_transformer\.py: expected a run of train_mlp_numpy'):
        load_network(tmp_path)


@pytest.mark.parametrize('name', ['checkpoint.pt', 'checkpoint.npz'])
@pytest.mark.parametrize('content', [None, b'not a checkpoint', b''])
def test_a_missing_or_foreign_checkpoint_is_one_line(content, name, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    what = 'missing' if content is None else 'no checkpoint of a run, or a damaged one'
    with pytest.raises(RunError, match=rf'checkpoint\.\w+ is {what}: .*expected a run of train_mlp_numpy') as error:
        load_network(tmp_path)
    assert re.search(r'\btrain (one|first), or name ', str(error.value))
    assert '\n' not in str(error.value) and '--overwrite' not in str(error.value)


def test_a_picture_taken_sideways_is_turned(tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the first row is the right side
    Image.fromarray(pixels).save(tmp_path / 'sideways.png', exif=exif)
    got = predict.read_picture(tmp_path / 'sideways.png')
    assert np.all(got[:, :, :16] == 0) and np.all(got[:, :, 16:] == 255)


def test_the_names_are_those_of_the_data_set():
    flags = importlib.import_module('train_mlp_pytorch').parse_flags(['--dataset', 'shapes10'])
    assert class_names(flags) == shapes10.CLASS_NAMES
