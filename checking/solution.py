"""Somebody's solution: its files, its classes, and the parameters of its modules in whatever layout they have."""

import importlib
import inspect
import sys
from itertools import chain, islice
from pathlib import Path

import numpy as np

from .verdicts import Missing, Unimportable, Wrong

ASKED_OF_MLP = {'neg_slope': 0.15, 'negative_slope': 0.15}
FILES = ('modules', 'mlp_numpy', 'mlp_pytorch', 'custom_batchnorm', 'convnet_pytorch')
SLOPE, ALPHA = 0.15, 0.7  # of the negative side, where a constructor asks for one
# What constructors ask for beyond the assignment's sizes, in the course's editions and in people's own.
OPTIONS = {
    'neg_slope': SLOPE,
    'negative_slope': SLOPE,
    'slope': SLOPE,
    'alpha': ALPHA,
    'dropout': 0.0,
    'p': 0.0,
    'batch_norm': False,
    'batchnorm': False,
    'use_batch_norm': False,
    'device': 'cpu',
}


class Solution:
    """The files of a solution, imported when they are first asked for.

    Args:
        folder: where they are; it has to be first on sys.path. None for modules that are given.
        modules: by file name without its suffix, instead of importing.
        broken: {file: why it cannot be imported}, as found before.
        on_import: called with the file's name before its import, and with None after.
    """

    def __init__(self, folder=None, modules=None, broken=None, on_import=lambda name: None):
        self.folder = Path(folder).resolve() if folder else None
        self.verdicts = {}  # so far, by item
        self._modules = dict(modules or {})
        self._broken = dict(broken or {})
        self._on_import = on_import

    def file(self, name):
        """The module of that file; Missing if there is none, and what its import raised each time it is asked for."""
        if name in self._broken:
            why = self._broken[name]
            raise why if isinstance(why, BaseException) else Unimportable(why)
        if name not in self._modules:
            if self.folder is None or not (self.folder / f'{name}.py').exists():
                other = '; custom_layernorm.py, of the 2020 edition, is not judged'
                is_there = name == 'custom_batchnorm' and self.folder and (self.folder / 'custom_layernorm.py').exists()
                raise Missing(f'there is no {name}.py' + other * bool(is_there))
            self._on_import(name)
            try:
                self._modules[name] = importlib.import_module(name)
            except BaseException as error:
                self._broken[name] = error
                raise
            finally:
                self._on_import(None)
        return self._modules[name]

    def find(self, file, *names):
        """The first class of the file that has one of the names, whatever their case."""
        module = self.file(file)
        lower = {key.lower(): value for key, value in vars(module).items() if inspect.isclass(value)}
        for name in names:
            if name.lower() in lower:
                return lower[name.lower()]
        raise Missing(f'there is no class {names[0]} in {file}.py')

    def numpy_seeded(self):
        np.random.seed(0)


def build(cls, *sizes, **wanted):
    """An instance of cls for these sizes. `wanted` is passed as far as the constructor has parameters of that name.

    Raises:
        Wrong: if the constructor insists on something that the assignment does not name.
    """
    try:
        parameters = list(inspect.signature(cls).parameters.values())[len(sizes) :]
    except (TypeError, ValueError):
        parameters = []
    options = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in wanted:
            options[parameter.name] = wanted[parameter.name]
        elif parameter.default is parameter.empty:
            if parameter.name not in OPTIONS:
                raise Wrong(f'{cls.__name__} asks for {parameter.name!r}, which the assignment does not name')
            options[parameter.name] = OPTIONS[parameter.name]
    return cls(*sizes, **options)


def forward_name(cls):
    """'forward' or '__call__', whichever the class has."""
    return 'forward' if hasattr(cls, 'forward') else '__call__'


def run(module, *arguments):
    """module.forward(*arguments), or module(*arguments) where there is no such method."""
    out = getattr(module, forward_name(type(module)))(*arguments)
    if out is None:
        raise Missing(f'{type(module).__name__}.{forward_name(type(module))} returns None: not written yet')
    return out


def backward(module, *arguments):
    if not hasattr(module, 'backward'):
        raise Missing(f'{type(module).__name__} has no backward')
    return module.backward(*arguments)


def activations(solution):
    """The activation classes of modules.py that are written, by kind: 'relu', 'leaky_relu', 'elu'."""
    names = {
        'relu': ('ReLUModule', 'ReLU'),
        'leaky_relu': ('LeakyReLUModule', 'LeakyReLU', 'LReLUModule', 'LeakyModule'),
        'elu': ('ELUModule', 'ELU'),
    }
    found = {}
    for kind, known in names.items():
        try:
            found[kind] = solution.find('modules', *known)
        except Missing:
            solution.file('modules')
    if not found:
        raise Missing('there is no ReLUModule, LeakyReLUModule or ELUModule in modules.py')
    return found


def slope_of(module, default):
    """The slope or alpha of an activation as its attributes tell it, or the default."""
    for name in ('neg_slope', 'negative_slope', 'slope', 'alpha', 'a'):
        value = vars(module).get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return default


NOT_PASSED_ON = 'the MLP does not pass its neg_slope on to the activations'


def asked_slope(cls):
    """The slope that an MLP is asked for; None if its constructor has no parameter for one."""
    names = inspect.signature(cls).parameters
    return next((slope for name, slope in ASKED_OF_MLP.items() if name in names), None)


def revive_old_names():
    """Gives NumPy and the standard library the names back that old solutions use and newer versions removed."""
    import collections
    import collections.abc

    old = {'bool': bool, 'int': int, 'float': float, 'object': object, 'str': str, 'complex': complex, 'long': int}
    old |= {'float_': np.float64, 'Inf': np.inf, 'Infinity': np.inf, 'infty': np.inf, 'NaN': np.nan, 'NAN': np.nan}
    old |= {'product': np.prod, 'cumproduct': np.cumprod, 'alltrue': np.all, 'sometrue': np.any}
    old |= {'row_stack': np.vstack, 'asscalar': lambda a: np.asarray(a).item()}
    for name, value in old.items():
        if name not in vars(np):
            setattr(np, name, value)
    for name in ('Iterable', 'Mapping', 'Sequence', 'Callable'):
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))


def holding(folder):
    """The folders that hold files of the assignment, this one and those below, that with most of them first."""
    folder = Path(folder)
    below = (p for depth in ('*', '*/*', '*/*/*', '*/*/*/*') for p in sorted(folder.glob(depth)) if p.is_dir())
    counts = {}
    for path in islice(chain([folder], below), 5000):
        if not any(part.startswith('.') for part in path.relative_to(folder).parts):
            counts[path] = sum((path / f'{name}.py').is_file() for name in FILES)
    return sorted(filter(counts.get, counts), key=lambda path: -counts[path])


def locate(folder):
    """The folder with the solution: this one, or that below it which holds most of the assignment's files."""
    return next(iter(holding(folder)), None)


def prefer(folder):
    """Puts the folder first on the path, and drops what has been imported under its names."""
    for name in FILES:
        sys.modules.pop(name, None)
    sys.path.insert(0, str(folder))
