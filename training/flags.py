"""What a command line may say: flags in groups, each added by one function with the defaults of its question.

An error is one line and exit status 2. Flags must be spelt in full; one that is not known is answered with the one that
was probably meant.
"""

import argparse
import difflib
import math
import os
from pathlib import Path

from training.processes import is_first, let_the_first_speak

ALIASES = {  # what people call these flags elsewhere
    'lr': 'learning_rate',
    'steps': 'max_steps',
    'bs': 'batch_size',
    'wd': 'weight_decay',
    'hidden': 'dnn_hidden_units',
    'layers': 'dnn_hidden_units',
    'output': 'out_dir',
    'gpu': 'device',
}
DASHES = str.maketrans('–—−', '---')  # what two hyphens become in a PDF or a chat


class Flags(argparse.Namespace):
    """Parsed flags, and apart from them the script and its defaults, of which the shortest command is made."""

    __slots__ = ('defaults', 'script')


class HelpFormatter(argparse.HelpFormatter):
    """Names each default that says something."""

    def _get_help_string(self, action):
        value = action.default
        if value is None or value is False or value is argparse.SUPPRESS:
            return action.help
        text = ','.join(map(str, value)) if isinstance(value, list) else value
        return f'{action.help} (default: {text})'


class ArgumentParser(argparse.ArgumentParser):
    """argparse with errors of one line, and flags that must be spelt in full.

    Args:
        script: the file that is run, __file__.
        doc: its docstring, whose first line is the description; None under python -OO.
    """

    def __init__(self, script, doc):
        self.script = script
        description, *_ = (doc or '').splitlines() or ['']
        name = Path(script).name
        super().__init__(prog=name, description=description, allow_abbrev=False, formatter_class=HelpFormatter)

    def parse_args(self, args=None, namespace=None):
        flags, unknown = self.parse_known_args(args, namespace or Flags())
        if unknown:
            self.error(f'unrecognized arguments: {" ".join(unknown)}{self._probably_meant(unknown)}')
        if isinstance(flags, Flags):
            flags.script, flags.defaults = self.script, {name: self.get_default(name) for name in vars(flags)}
        return flags

    def _probably_meant(self, unknown):
        """The flag that was probably meant by the first argument that is not known, as the end of a sentence."""
        known = [option[2:] for action in self._actions for option in action.option_strings if option.startswith('--')]
        name = unknown[0].split('=')[0].translate(DASHES)
        if not name.startswith('-'):
            return ': several values of a flag are joined by commas, as in 512,256'
        name = name.lstrip('-').replace('-', '_')
        meant = ALIASES.get(name, name)
        close = [meant] if meant in known else difflib.get_close_matches(name, known, 1)
        return f': did you mean --{close[0]}?' if close else ''

    def error(self, message):
        let_the_first_speak()
        self.exit(2, f'{self.prog}: {message} (--help lists the flags)\n' if is_first() else None)


def number(kind, low=-math.inf, high=math.inf, open_low=False):
    """An argparse type: an int or float in [low, high], or in (low, high] with open_low."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (low < value if open_low else low <= value) or not value <= high or not abs(value) < math.inf:
            bounds = f'{"above" if open_low else "at least"} {low}' if math.isfinite(low) else ''
            bounds += f'{" and " if bounds else ""}at most {high}' if math.isfinite(high) else ''
            name = 'a whole number' if kind is int else 'a number'
            raise argparse.ArgumentTypeError(f'must be {name} {bounds}, got {text!r}')
        return value

    return parse


positive = number(int, 1, 10**9)
fraction = number(float, 0, 1)


def hidden_units(text):
    """An argparse type: '100' or '512,256', a size per hidden layer; '' for none."""
    try:
        sizes = [int(size) for size in text.split(',')] if text.strip() else []
    except ValueError:
        sizes = [0]
    if any(not 1 <= size <= 100_000 for size in sizes):
        raise argparse.ArgumentTypeError(f'must be whole numbers from 1 to 100000, commas between, got {text!r}')
    return sizes


def folder(text):
    """An argparse type: the name of a folder, which cannot be empty; ~ is the user's home."""
    if not text:
        raise argparse.ArgumentTypeError('must be the name of a folder, got nothing')
    return os.path.expanduser(text)


def add_run_flags(parser, out_dir, eval_freq=None):
    """Adds what a run is called, how often it is looked at, and what becomes of an older one in its folder.

    Without eval_freq the run has no checkpoints and cannot be resumed.
    """
    group = parser.add_argument_group('run')
    add = group.add_argument
    add('--out_dir', type=folder, default=out_dir, help='run folder')
    add('--seed', type=number(int, 0, 2**32 - 1), default=42, help='seed of all random numbers')
    old = group.add_mutually_exclusive_group()
    if eval_freq:
        add('--eval_freq', type=positive, default=eval_freq, help='steps between evaluations on the test set')
        old.add_argument('--resume', action='store_true', help='continue the run in --out_dir from its last checkpoint')
    else:
        parser.set_defaults(eval_freq=10**9, resume=None)
    old.add_argument('--overwrite', action='store_true', help='replace the run in --out_dir')
    add('--quiet', action='store_true', help='print nothing but errors and the progress of a download')
    return group


def add_data_flags(parser):
    """Adds where the images come from."""
    group = parser.add_argument_group('data')
    add = group.add_argument
    add('--dataset', choices=['cifar10', 'shapes10'], default='cifar10', help='shapes10 is built in: no download')
    add('--data_dir', type=folder, default='./cifar10/cifar-10-batches-py', help='folder of the CIFAR-10 batches')
    add('--data_url', help='where to fetch the CIFAR-10 archive from, before the known sources')
    add('--validation_size', type=number(int, 0, 10**9), default=0, help='training examples held out for validation')
    return group


class Instead(argparse.Action):
    """Keeps the value of one of --max_steps and --epochs, and takes that of the other away."""

    def __call__(self, parser, namespace, values, option_string=None):
        namespace.max_steps = namespace.epochs = None
        setattr(namespace, self.dest, values)


def add_optimisation_flags(parser, *, learning_rate, batch_size, max_steps=None, epochs=None):
    """Adds the length of the run, in steps or in epochs, and of its steps."""
    group = parser.add_argument_group('optimisation')
    add = group.add_argument
    add('--learning_rate', type=number(float, 0, open_low=True), default=learning_rate, help='learning rate')
    length = group.add_mutually_exclusive_group()
    one = {'type': positive, 'action': Instead}
    length.add_argument('--max_steps', **one, default=max_steps, help='number of steps, instead of --epochs')
    length.add_argument('--epochs', **one, default=epochs, help='passes over the training set, instead of --max_steps')
    add('--batch_size', type=positive, default=batch_size, help='examples per step')
    return group
