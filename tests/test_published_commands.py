"""Every command that is published is one that its script takes."""

import json
import os
import re
import runpy
import shlex
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'experiments'))
import rows

PAGES = ['README.md', 'RESULTS.md', 'Makefile']
FOLDERS = ['', 'experiments', 'training', 'data']  # of scripts whose docstrings show commands
COMMAND = re.compile(
    r'(?:python|torchrun --\w+ \d+) '  # torchrun's own flags are not ours to test
    r'((?:experiments/)?(?:train_\w+|best_\w+|speedrun|ladder|table|predict)\.py)([^`\n<]*)'
)


def commands(text):
    """The (script, flags) of each command in a text, without the comment behind it and what is optional."""
    for script, flags in COMMAND.findall(text):
        words = shlex.split(re.split(r'  +#| \[|,| with ', flags)[0], comments=True)
        yield script, *words[: words.index('...') if '...' in words else None]


def published():
    """All commands: {command: where it stands}."""
    texts = {page: (ROOT / page).read_text(encoding='utf-8') for page in PAGES}
    for folder in FOLDERS:
        texts |= {path.relative_to(ROOT): path.read_text(encoding='utf-8') for path in (ROOT / folder).glob('*.py')}
    found = {command: page for page, text in texts.items() for command in commands(text)}
    found |= {(row.script, *shlex.split(row.flags)): f'row {name}' for name, row in rows.ROWS.items()}
    for path in (ROOT / 'results').rglob('config.json'):
        found |= dict.fromkeys(commands(json.loads(path.read_text())['command']), path.relative_to(ROOT))
    return found


def parse(script, *args):
    """The flags that a script makes of its arguments."""
    before = sys.argv
    sys.argv = [script, *args]
    try:
        return runpy.run_path(str(ROOT / script), run_name='published')['parse_flags']()
    finally:
        sys.argv = before
