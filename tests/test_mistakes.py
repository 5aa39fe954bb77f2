"""The mistakes in tests/mistakes still fit the code, and name tests that exist; run.py there makes and catches them."""

import os
import re
import subprocess

import pytest
from conftest import ROOT

PATCHES = sorted((ROOT / 'tests' / 'mistakes').glob('*.patch'))


def test_there_are_enough():
    assert len(PATCHES) >= 40


@pytest.mark.parametrize('path', PATCHES, ids=lambda path: path.stem)
def test_it_applies_and_names_a_test(path):
    elsewhere = os.environ | {'GIT_CEILING_DIRECTORIES': str(ROOT.parent)}
    check = subprocess.run(['git', 'apply', '--check', path], cwd=ROOT, env=elsewhere, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    sentence, caught_by, *_ = path.read_text(encoding='utf-8').splitlines()
    assert sentence.endswith('.')
    file, name = re.fullmatch(r'Caught by: ([\w/.]+)::(?:\w+::)?(\w+)(?:\[.*])?', caught_by).groups()
    assert f'def {name}(' in (ROOT / file).read_text(encoding='utf-8')
