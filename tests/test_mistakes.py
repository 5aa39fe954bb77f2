"""The mistakes of tests/mistakes.txt still fit the code and name tests that exist; make_mistakes.py makes them."""

import re

import pytest
from conftest import ROOT
from make_mistakes import TABLE, read_table

MISTAKES = read_table()


def test_each_has_a_name_of_its_own_and_they_stand_by_file():
    places = [(mistake.edits[0][0], name) for name, mistake in MISTAKES.items()]
    assert places == sorted(places)
    assert TABLE.read_text(encoding='utf-8').count('\ncaught by ') == len(MISTAKES) >= 190


@pytest.mark.parametrize('name', MISTAKES)
def test_it_fits_the_code_and_names_a_test(name):
    mistake = MISTAKES[name]
    assert mistake.sentence.endswith('.')
    assert mistake.fits(ROOT), 'its lines do not stand in the file exactly once'
    file, test = re.fullmatch(r'([\w/.]+)::(?:\w+::)?(\w+)(?:\[.*])?', mistake.test).groups()
    assert f'def {test}(' in (ROOT / file).read_text(encoding='utf-8')
