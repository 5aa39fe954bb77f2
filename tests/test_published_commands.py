"""Every command that is published is one that its script takes: parsed here, as the script parses it."""

import argparse
import ast
import importlib
import json
import re
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'experiments'))
import rows

from training.flags import ArgumentParser

PAGES = [
    'README.md',
    'RESULTS.md',
    'CONTRIBUTING.md',
    'Makefile',
    *(f'docs/{path.name}' for path in ROOT.glob('docs/*.md')),
]
SCRIPTS = ['*.py', 'benchmarks/*.py', 'docs/*.py', 'experiments/*.py', 'report/*.py', 'tests/[!t]*.py']
COMMAND = re.compile(r'(?:python|torchrun [-\w ]+) ([a-z][\w/]*\.py)\b([^`<\n]*)')  # torchrun's own flags stand before
WHAT_FOLLOWS = re.compile(r'  |, | with | \[| #| && | \|\| ')  # a comment, another command, what is optional


def commands(text):
    """The (script, arguments...) of each command in a text."""
    return [(script, *WHAT_FOLLOWS.split(words)[0].split()) for script, words in COMMAND.findall(text)]


def text_of(path):
    """A page, or what a script says of itself."""
    text = path.read_text(encoding='utf-8')
    return ast.get_docstring(ast.parse(text)) or '' if path.suffix == '.py' else text


def published():
    """The commands and where they stand, {(script, arguments...): place}."""
    paths = [*(ROOT / page for page in PAGES), *(path for names in SCRIPTS for path in sorted(ROOT.glob(names)))]
    texts = [(path.relative_to(ROOT).as_posix(), text_of(path)) for path in paths]
    for path in sorted((ROOT / 'results').rglob('config.json')):
        texts.append((path.parent.relative_to(ROOT).as_posix(), json.loads(path.read_text())['command']))
    texts += [(f'row {name}', f'python {row.script} {row.flags}') for name, row in rows.ROWS.items()]
    return {command: place for place, text in texts for command in commands(text)}


class Parsed(Exception):
    """A program has read its arguments and would go on."""


def read_arguments(script, monkeypatch):
    """Has a script read sys.argv as it does when it is run, and no more."""
    module = importlib.import_module(script.removesuffix('.py').replace('/', '.'))
    parse_flags = getattr(module, 'parse_flags', None)
    if parse_flags and parse_flags.__module__ == module.__name__:  # its own
        return parse_flags()

    def stop_after(parse_args):
        def parse(*args):
            parse_args(*args)
            raise Parsed

        return parse

    with monkeypatch.context() as patch, pytest.raises(Parsed):
        for parser in (argparse.ArgumentParser, ArgumentParser):
            patch.setattr(parser, 'parse_args', stop_after(parser.parse_args))
        module.main()


def test_every_published_command_is_one_that_its_script_takes(monkeypatch, capsys):
    for folder in ('benchmarks', 'report', 'tests'):
        monkeypatch.syspath_prepend(ROOT / folder)
    found, refused = published(), []
    assert len({script for script, *_ in found}) > 15 and len(found) > 100  # they are recognised
    for (script, *arguments), place in found.items():
        if 'parse_args(' not in (ROOT / script).read_text(encoding='utf-8'):
            assert script == 'unittests.py' or not arguments, script  # it takes none
            continue
        monkeypatch.setattr(sys, 'argv', [script, *arguments])
        try:
            read_arguments(script, monkeypatch)
        except SystemExit as exit:
            if 'needs atheris' not in str(exit):  # which the command installs
                refused.append((place, capsys.readouterr().err))
    assert refused == []
