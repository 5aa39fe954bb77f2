"""This repo's own answer, loaded under private names: a solution has files of the same names."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load(name):
    """The file `name`.py of the repo as a module that nobody else's import can find, nor be disturbed by."""
    private = f'_reference_{name}'
    if private not in sys.modules:
        spec = importlib.util.spec_from_file_location(private, ROOT / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        sys.modules[private] = module
        spec.loader.exec_module(module)
    return sys.modules[private]
