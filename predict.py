"""Name what is on a picture with a trained network: the most probable classes with their probabilities.

    python predict.py cat.jpg holiday/*.png --checkpoint runs/convnet_pytorch

The centre square of each picture is shrunk or enlarged to 32x32 pixels, what the network was trained on.

From Python:

    network = load_network('runs/convnet_pytorch')
    network.probabilities(read_picture('cat.jpg'))  # or of images, uint8 (B, 3, 32, 32)
    network.evaluate()                              # loss and accuracy on the test set, those of the run's summary.json
"""

import argparse
import contextlib
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cifar10_utils import N_CLASSES, N_PIXELS
from training.errors import RunError, UsageError
from training.files import reading
from training.flags import ArgumentParser, number
from training.networks import NumpyNetwork, SpeedrunNetwork, TorchNetwork
from training.numpy_machine import NumpyMachine
from training.script import run_script
from training.torch_machine import TorchMachine

MAX_PIXELS = 50_000_000  # as they are decoded
ENOUGH = (256, 256)  # a JPEG is decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size that is no smaller
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which warns first


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('images', nargs='+', metavar='PATH_TO_IMAGE', help='a picture of any common format and size')
    parser.add_argument('--checkpoint', default='runs/convnet_pytorch', help='run folder of a trained network')
    parser.add_argument('--top', type=number(int, 1, 10), default=3, help='number of classes to name')
    return parser.parse_args(argv)


def _numpy_mlp(flags, state):
    from mlp_numpy import MLP
    from train_mlp_numpy import evaluate

    def make_model(flags, dtype):
        return MLP(N_PIXELS, flags.dnn_hidden_units, N_CLASSES, dtype)

    return NumpyNetwork(flags, state, make_model, evaluate)


def _mlp(script):
    return lambda flags, state: TorchNetwork(flags, state, import_module(script).make_model, 1000)


def _convnet(flags, state):
    from convnet_pytorch import ConvNet

    return TorchNetwork(flags, state, lambda flags: ConvNet(3, N_CLASSES), 250)


def _speedrun(flags, state):
    from experiments.speedrun import SpeedNet, evaluate

    return SpeedrunNetwork(flags, state, lambda flags: SpeedNet(N_CLASSES), evaluate)


NETWORKS = {
    'train_mlp_numpy': _numpy_mlp,
    'train_mlp_pytorch': _mlp('train_mlp_pytorch'),
    'train_convnet_pytorch': _convnet,
    'best_mlp': _mlp('experiments.best_mlp'),
    'best_convnet': _convnet,
    'speedrun': _speedrun,
}
EXPECTED = f'expected a run of {", ".join(NETWORKS)}'


def load_network(run, **changes):
    """The trained Network of a run.

    It computes where the run did, on the device and in the precision of its flags; where there is no such device, on
    what there is.

    Args:
        run: run folder, or the checkpoint in it.
        changes: of the run's flags, such as device='cpu', or data_dir, where the data set lies now.
    Raises:
        RunError: if there is no such checkpoint, or it is another kind of file.
        UsageError: if there is no such device as asked for.
    """
    path = _checkpoint(Path(run).expanduser())
    with reading(path, f'is no checkpoint of a run, or a damaged one: {EXPECTED}; train one, or name its folder'):
        machine = NumpyMachine if path.suffix == '.npz' else TorchMachine
        state = machine.load(path)
        flags = argparse.Namespace(**state['flags'] | changes)
        if state['script'] not in NETWORKS:
            raise RunError(f'{path} is of {state["script"]}.py: {EXPECTED}')
        if 'device' in state['flags'].keys() - changes.keys():
            flags.device = _device_at_hand(flags)
        return NETWORKS[state['script']](flags, state)


def _checkpoint(path):
    """The checkpoint in a run folder, or the file itself."""
    if path.is_dir():
        path = next(path.glob('checkpoint.np[z]'), path / TorchMachine.checkpoint)
    if not path.exists():
        raise RunError(f'{path} is missing: train first, or name another run; {EXPECTED}')
    return path


def _device_at_hand(flags):
    """The name of the device of the run, or 'auto' where that is not to be had."""
    with contextlib.suppress(UsageError):
        TorchMachine(flags)
        return flags.device
    return 'auto'


def read_picture(path):
    """The centre square of a picture, uint8 (3, 32, 32), transparency laid on white.

    Raises:
        RunError: if the file is missing, unreadable, no picture, broken, of more than MAX_PIXELS pixels, or of a scale
            that it does not tell: 32-bit numbers.
    """
    path = Path(path).expanduser()
    try:
        with Image.open(path) as image:
            _check(path, image)
            has_16_bits = image.mode.startswith('I')  # a PGM of 16 bits opens as I, and so does a PNG in older Pillows
            image = ImageOps.exif_transpose(image)
            if has_16_bits:
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert('RGBA')
    except RunError:
        raise
    except FileNotFoundError as error:
        raise RunError(f'{path} is missing') from error
    except Exception as error:  # Pillow's decoders raise many kinds
        if path.is_dir():
            raise RunError(f'{path} is a folder: name the pictures in it') from error
        if isinstance(error, PermissionError):
            raise RunError(f'{path} may not be read: give yourself the right to (chmod u+r), or copy it') from error
        raise RunError(f'{path} is no picture, or a broken one: {" ".join(str(error).split())}') from error
    white = Image.new('RGBA', image.size, 'white')
    square = ImageOps.fit(Image.alpha_composite(white, image).convert('RGB'), (32, 32), Image.Resampling.LANCZOS)
    return np.array(square).transpose(2, 0, 1)


def _check(path, image):
    """Lets an opened JPEG be decoded small; raises RunError if a picture takes too much memory or tells no scale."""
    width, height = image.size
    image.draft(None, ENOUGH)
    # the coefficients of a progressive JPEG are all in memory, however small it is decoded
    decoded = width * height if image.info.get('progressive') else image.width * image.height
    if decoded > MAX_PIXELS:
        raise RunError(f'{path} has {width}x{height} pixels: expected at most {MAX_PIXELS:,}, unless a plain JPEG')
    if image.mode == 'F' or (image.mode == 'I' and image.format not in ('PNG', 'PPM')):
        raise RunError(f'{path} has grey values of 32 bits: expected a picture of 8 or 16 bits a colour')


def predict(flags):
    """Prints a line for each picture; pictures that cannot be read are named at the end.

    Raises:
        RunError: if the checkpoint or one of the pictures cannot be read.
    """
    network = load_network(flags.checkpoint)
    failures = []
    for path in flags.images:
        try:
            pixels = read_picture(path)
        except RunError as error:
            failures.append(str(error))
            continue
        probabilities = network.probabilities(pixels)
        best = np.argsort(-probabilities, kind='stable')[: flags.top]
        print(f'{path}: ' + ', '.join(f'{network.names[i]} {probabilities[i]:.3f}' for i in best))
    if failures:
        raise RunError('; '.join(failures))


if __name__ == '__main__':
    run_script(predict, parse_flags())
