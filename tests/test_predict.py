"""predict.py: any picture, one clear line for what is none."""

import argparse

import numpy as np
import pytest
import torch
from batches import write_folder
from PIL import Image

import predict
import train_convnet_pytorch
import train_mlp_pytorch
from cifar10_utils import CLASS_NAMES, load_cifar10
from data import shapes10
from torch_utils import Machine, predict_logits
from train_utils import RunError, class_names, load_data


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Run folders of a ConvNet and of an MLP with moving average and standardised input."""
    folder = tmp_path_factory.mktemp('runs')
    write_folder(folder / 'data')
    common = ['--data_dir', str(folder / 'data'), '--max_steps', '2', '--batch_size', '10', '--precision', 'fp32']
    found = {}
    mlp = ['--ema', '0.5', '--standardize', '--init', 'xavier']
    for script, more in [(train_convnet_pytorch, []), (train_mlp_pytorch, mlp)]:
        out_dir = folder / script.__name__
        flags = script.parse_flags([*common, '--quiet', '--out_dir', str(out_dir), *more])
        script.train(flags)
        found[script] = flags
    return found


def answers(capsys, *argv):
    """{path: {class: probability}} as printed."""
    predict.predict(predict.parse_flags([*map(str, argv)]))
    lines = [line.split(': ') for line in capsys.readouterr().out.splitlines()]
    return {path: {a.split()[0]: float(a.split()[1]) for a in rest.split(', ')} for path, rest in lines}


@pytest.mark.parametrize('script', [train_convnet_pytorch, train_mlp_pytorch])
def test_a_test_image_gets_the_probabilities_of_the_evaluation(script, runs, tmp_path, capsys):
    flags = runs[script]
    pixels = load_cifar10(flags.data_dir)[2][3]
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / 'three.png')
    printed = answers(capsys, tmp_path / 'three.png', '--checkpoint', flags.out_dir, '--top', '10')
    model, _, names = predict.load_network(flags.out_dir)
    data = load_data(flags, standardize=flags.standardize)
    logits, _ = predict_logits(model, data['test'], Machine(flags))
    expected = logits[3].softmax(0).numpy()
    assert names == CLASS_NAMES
    got = [printed[str(tmp_path / 'three.png')][name] for name in CLASS_NAMES]
    assert np.allclose(got, expected, atol=6e-4)  # printed with three decimals


def test_the_moving_average_is_what_answers(runs):
    flags = runs[train_mlp_pytorch]
    state = torch.load(f'{flags.out_dir}/checkpoint.pt', weights_only=True)
    model, _, _ = predict.load_network(flags.out_dir)
    weight = model.layers[0].weight
    assert torch.equal(weight, state['ema']['module.layers.0.weight'])
    assert not torch.equal(weight, state['model']['layers.0.weight'])


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


def test_good_pictures_are_answered_although_others_are_bad(runs, tmp_path, capsys):
    Image.new('RGB', (32, 32)).save(tmp_path / 'good.png')
    flags = predict.parse_flags(
        [str(tmp_path / 'missing.png'), str(tmp_path / 'good.png'), '--checkpoint', runs[train_convnet_pytorch].out_dir]
    )
    with pytest.raises(RunError, match=r'missing\.png is missing'):
        predict.predict(flags)
    assert 'good.png: ' in capsys.readouterr().out


def test_a_network_that_needs_a_batch_is_refused(runs, tmp_path):
    flags = vars(runs[train_mlp_pytorch]) | {'batch_norm': 'manual', 'out_dir': str(tmp_path)}
    train_mlp_pytorch.train(argparse.Namespace(**flags))
    with pytest.raises(RunError, match='statistics of a batch'):
        predict.load_network(tmp_path)


@pytest.mark.parametrize('content', [torch.zeros(3), [1, 2], {}, {'flags': None}, {'flags': {'batch_norm': 'none'}}])
def test_a_checkpoint_of_something_else_is_one_line(content, tmp_path):
    torch.save(content, tmp_path / 'checkpoint.pt')
    with pytest.raises(RunError, match=r'checkpoint\.pt is damaged.*train_mlp_pytorch\.py') as error:
        predict.load_network(tmp_path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [None, b'not a checkpoint', b''])
def test_a_missing_or_foreign_checkpoint_is_one_line(content, tmp_path):
    if content is not None:
        (tmp_path / 'checkpoint.pt').write_bytes(content)
    with pytest.raises(RunError, match=r'checkpoint\.pt is (missing|damaged).*train_mlp_pytorch\.py') as error:
        predict.load_network(tmp_path)
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
    assert class_names(train_mlp_pytorch.parse_flags(['--dataset', 'shapes10'])) == shapes10.CLASS_NAMES
