"""Who may import whom: the rule that keeps each room readable by itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {path.parent.name for path in ROOT.glob('*/__init__.py')} | {path.stem for path in ROOT.glob('*.py')}
MODELS = {'modules', 'mlp_numpy', 'mlp_pytorch', 'custom_batchnorm', 'convnet_pytorch'}
MAY_IMPORT = {
    'data': {'data'},
    'training': {'training', 'data', 'cifar10_utils'},
    'checking': {'checking'},
    'cifar10_utils': {'data'},
    'gradient_check': set(),
} | dict.fromkeys(sorted(MODELS), MODELS)


def imported(path):
    """The rooms and root files that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [path.parent.name if node.level else node.module]
        else:
            continue
        yield from (name.split('.')[0] for name in names)


@pytest.mark.parametrize('room', MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room):
    paths = sorted((ROOT / room).glob('*.py')) or [ROOT / f'{room}.py']
    found = {(path.name, name) for path in paths for name in imported(path) if name in ROOMS - MAY_IMPORT[room]}
    assert not found
