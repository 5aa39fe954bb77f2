"""Name what is on a picture with a trained network: the most probable classes with their probabilities.

    python predict.py cat.jpg holiday/*.png --checkpoint runs/convnet_pytorch

The centre square of each picture is shrunk or enlarged to 32x32 pixels, what the network was trained on.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from training.errors import RunError
from training.flags import ArgumentParser, number
from training.networks import load_network
from training.script import run_script

MAX_PIXELS = 50_000_000  # as they are decoded
ENOUGH = (256, 256)  # a JPEG is decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size that is no smaller
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which warns first


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('images', nargs='+', metavar='PATH_TO_IMAGE', help='a picture of any common format and size')
    parser.add_argument('--checkpoint', default='runs/convnet_pytorch', help='run folder of a trained network')
    parser.add_argument('--top', type=number(int, 1, 10), default=3, help='number of classes to name')
    return parser.parse_args(argv)


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
