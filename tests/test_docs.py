"""README.md and docs/ promise what is there: files, flags, reasons."""

import re

import pytest
from conftest import ROOT

from docs import flags

PAGES = ['README.md', *(f'docs/{path.name}' for path in sorted((ROOT / 'docs').glob('*.md')))]


def text_of(name):
    return (ROOT / name).read_text(encoding='utf-8')


def anchors(name):
    """What GitHub makes of the headings of a page, for links into it."""
    headings = re.findall('^#+ (.+)$', text_of(name), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('name', PAGES)
def test_every_link_leads_to_a_file_and_into_it_to_a_heading(name):
    links = re.findall(r'\]\((?!http)([^)#]*)#?([^)]*)\)', text_of(name))
    assert links or name == 'docs/flags.md'
    for file, anchor in links:
        target = ((ROOT / name).parent / file).resolve() if file else ROOT / name
        assert target.exists(), file
        assert not anchor or anchor in anchors(target.relative_to(ROOT)), f'{file}#{anchor}'


@pytest.mark.parametrize('name', PAGES)
def test_every_file_that_is_named_exists(name):
    """As a path from the root, or by its name alone."""
    text = re.sub(r'^```.*?^```', '', text_of(name), flags=re.MULTILINE | re.DOTALL)  # what programs printed
    named = re.findall(r'(?<![\w/.~-])((?:[\w-]+/)*[\w-]+\.(?:py|tex|bib|toml|txt))\b(?!`?:)', text)
    assert named
    known = {path.name for pattern in ('*', '[a-z]*/**/*') for path in ROOT.glob(pattern)}  # not .venv's
    assert [file for file in named if not (ROOT / file).exists() and ('/' in file or file not in known)] == []


def test_the_page_of_flags_is_what_the_parsers_say():
    assert flags.page() == text_of('docs/flags.md'), 'run python docs/flags.py'


@pytest.mark.parametrize('name', PAGES)
def test_every_flag_in_the_text_exists(name):
    known = set(re.findall(r'`(--\w+)`', flags.page())) | {'--help', '--list'}
    known |= {'--repeats', '--usual'}  # benchmarks/, tests/mutants.py
    known |= {'--nproc_per_node', '--max_restarts'}  # torchrun
    known |= {'--no-install-recommends', '--extra-index-url', '--logdir'}  # apt, pip, tensorboard
    known |= {'--rm', '--network', '--read-only', '--tmpfs'}  # docker
    assert set(re.findall(r'(?<![\w-])--[a-z][\w-]+', text_of(name))) - known == set()


@pytest.mark.parametrize('file', ['requirements.txt', 'requirements-dev.txt'])
def test_requirements_are_explained(file):
    explained = re.findall(r'^\| ([\w, -]+) \|', text_of('docs/dependencies.md'), re.MULTILINE)
    packages = {package for cell in explained for package in cell.split(', ')} - {'package'}
    needed = {re.split('[><=]', line)[0] for line in text_of(file).splitlines()}
    assert needed <= packages
