"""Name what is on a picture with a trained network: the most probable classes with their probabilities.

    python predict.py cat.jpg holiday/*.png --checkpoint runs/convnet_pytorch

The centre square of each picture is shrunk or enlarged to 32x32 pixels, what the network was trained on.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch_utils import read_checkpoint
from train_utils import ArgumentParser, RunError, class_names, number, reading, run_script

from convnet_pytorch import ConvNet
from mlp_pytorch import MLP

MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which warns first
EXPECTED = 'expected a run of train_mlp_pytorch.py or train_convnet_pytorch.py'


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('images', nargs='+', metavar='PATH_TO_IMAGE', help='a picture of any common format and size')
    parser.add_argument('--checkpoint', default='runs/convnet_pytorch', help='run folder of a PyTorch network')
    parser.add_argument('--top', type=number(int, 1, 10), default=3, help='number of classes to name')
    return parser.parse_args(argv)


def read_picture(path):
    """The centre square of a picture, uint8 (3, 32, 32), transparency laid on white.

    Raises:
        RunError: if the file is missing, no picture, broken, of more than MAX_PIXELS pixels, or of a scale that it does
            not tell: 32-bit numbers.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RunError(f'{path} has {image.width}x{image.height} pixels: expected at most {MAX_PIXELS:,}')
            if image.mode == 'F' or (image.mode == 'I' and image.format not in ('PNG', 'PPM')):
                raise RunError(f'{path} has grey values of 32 bits: expected a picture of 8 or 16 bits a colour')
            has_16_bits = image.mode.startswith('I')  # such a PGM opens as I, and so does a PNG in older Pillows
            image = ImageOps.exif_transpose(image)
            if has_16_bits:
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert('RGBA')
    except RunError:
        raise
    except FileNotFoundError as error:
        raise RunError(f'{path} is missing') from error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise RunError(f'{path} is no picture, or a broken one: {" ".join(str(error).split())}') from error
    white = Image.new('RGBA', image.size, 'white')
    square = ImageOps.fit(Image.alpha_composite(white, image).convert('RGB'), (32, 32), Image.Resampling.LANCZOS)
    return np.array(square).transpose(2, 0, 1)


def load_network(run):
    """A trained network in evaluation mode, the function that normalises its input, and the names of its classes.

    Args:
        run: run folder of train_mlp_pytorch.py or train_convnet_pytorch.py, or the checkpoint in it.
    Raises:
        RunError: if there is no such checkpoint, or it is another kind of file.
    """
    path = Path(run)
    path = path / 'checkpoint.pt' if path.is_dir() else path
    if not path.exists():
        raise RunError(f'{path} is missing: train first, or name a run with --checkpoint; {EXPECTED}')
    state = read_checkpoint(path, remedy=EXPECTED)
    with reading(path, remedy=EXPECTED):
        flags = argparse.Namespace(**state['flags'])
        if state['flags'].get('batch_norm') in ('autograd', 'manual'):
            raise RunError(f'{path} needs the statistics of a batch, which a single picture has not: train another')
        if 'dnn_hidden_units' in state['flags']:
            options = {name: state['flags'][name] for name in ('batch_norm', 'dropout', 'activation', 'init')}
            options['whiten'] = state['flags'].get('whiten', 0) > 0  # which older runs do not have
            model = MLP(3 * 32 * 32, flags.dnn_hidden_units, 10, **options)
        else:
            model = ConvNet(3, 10)
        if 'ema' in state:
            averaged = {name.removeprefix('module.'): value for name, value in state['ema'].items()}
            averaged.pop('n_averaged')
            model.load_state_dict(averaged)
        else:
            model.load_state_dict(state['model'])
        mean_image, std = state['mean_image'], state['std']
        names = class_names(flags)

        def normalise(pixels):
            x = torch.from_numpy(pixels).float() - mean_image
            return x if std is None else x / std

        model.eval()(normalise(np.zeros((3, 32, 32), np.uint8))[None])  # whatever does not fit fails here

    return model, normalise, names


@torch.no_grad()
def predict(flags):
    """Prints a line for each picture; pictures that cannot be read are named at the end.

    Raises:
        RunError: if the checkpoint or one of the pictures cannot be read.
    """
    model, normalise, names = load_network(flags.checkpoint)
    failures = []
    for path in flags.images:
        try:
            x = normalise(read_picture(path))
        except RunError as error:
            failures.append(str(error))
            continue
        probabilities = model(x[None]).softmax(1)[0]
        values, classes = probabilities.topk(flags.top)
        answers = [f'{names[i]} {value:.3f}' for value, i in zip(values.tolist(), classes.tolist(), strict=True)]
        print(f'{path}: ' + ', '.join(answers))
    if failures:
        raise RunError('; '.join(failures))


if __name__ == '__main__':
    run_script(predict, parse_flags())
