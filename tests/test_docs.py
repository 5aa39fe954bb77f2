"""README.md and docs/ promise what is there: files, flags, reasons, lines of Python that run; README stays short."""

import json
import math
import re
import sys

import numpy as np
import pytest
from conftest import ROOT, SHORT
from PIL import Image

import train_mlp_numpy
from docs import flags, networks

sys.path.insert(0, str(ROOT / 'experiments'))
import table

PAGES = [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    *(f'docs/{path.name}' for path in sorted((ROOT / 'docs').glob('*.md'))),
]


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


def test_the_readme_is_a_page_that_a_newcomer_finishes():
    lines = text_of('README.md').splitlines()
    assert len(lines) <= 180
    assert [line for line in lines if len(line) > (110 if line.startswith('|') else 120)] == []
    screen = lines[:25]
    picture, clone, demo, activate = (
        next(i for i, line in enumerate(screen) if line.startswith(start))
        for start in ('![', 'git clone ', 'make demo ', '. .venv/bin/activate')
    )
    assert picture < clone < demo < activate


def test_equations_are_named_by_numbers_that_the_report_has():
    named = re.findall(r'\((\d)\.(\d+)\)', text_of('README.md').partition('## Check your own')[0])
    report = re.findall(
        r'Equation (\d)\.(\d+)\.', ''.join(p.read_text() for p in (ROOT / 'report/equations').glob('*.py'))
    )
    assert len(named) >= 14 and set(named) <= set(report)


def test_make_has_the_targets_that_the_pages_name():
    targets = set(re.findall(r'^(\w+):', text_of('Makefile'), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r'(?:`|^|cpu )make (\w+)', text_of(page), re.MULTILINE)) <= targets, page


def test_the_demo_shows_two_twins_that_agree_and_a_network_that_learns_more():
    """In what it printed, as the README shows it: the last step's figures, each better than chance."""
    header, _, *lines = [line for line in text_of('results/demo.txt').splitlines() if line.startswith('|')]
    names, *runs = [[cell.strip() for cell in line.strip('|').split('|')] for line in (header, *lines)]
    assert names == table.HEADER
    commands = re.findall(
        r'train_(\w+)\.py .*--out_dir (\S+)', text_of('Makefile').partition('\ndemo:')[2].partition('\n\n')[0]
    )
    assert [run[0] for run in runs] == [folder for _, folder in commands]
    numpy, pytorch, convnet = [dict(zip(names, run, strict=True)) for run in runs]
    accuracies = [float(run['test accuracy %']) for run in (numpy, pytorch, convnet)]
    assert abs(accuracies[0] - accuracies[1]) <= 1 and accuracies[2] > max(accuracies[:2]) > 10
    assert all(float(run['test loss']) < math.log(10) for run in (numpy, pytorch, convnet))
    said = re.findall("@echo '(.*)'", text_of('Makefile'))
    assert '\n'.join(said) in text_of('results/demo.txt')


@pytest.mark.parametrize('page', ['README.md', 'docs/runs.md'])
def test_the_lines_of_python_run(page, data_dir, tmp_path, monkeypatch, capsys):
    (lines,) = re.findall(r'^```python\n(.*?)^```', text_of(page), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (run,) = re.findall(r"load_network\('(.*?)'\)", lines)
    argv = [*SHORT['train_mlp_numpy'].split(), '--quiet', '--data_dir', str(data_dir), '--out_dir', run]
    train_mlp_numpy.train(train_mlp_numpy.parse_flags(argv))
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save('cat.jpg')
    found = {}
    exec(lines, found)
    assert capsys.readouterr().out.strip() in found['network'].names
    summary = json.loads((tmp_path / run / 'summary.json').read_text())
    evaluated = found.get('loss', summary['test_loss']), found.get('accuracy', summary['test_accuracy'])
    assert evaluated == (summary['test_loss'], summary['test_accuracy'])


def test_what_stands_twice_is_the_same():
    """Versions: of ruff before a commit and in the tests, of the repo, of the oldest Python."""
    (ruff,) = re.findall('^ruff.*$', text_of('requirements-dev.txt'), re.MULTILINE)
    assert set(re.findall(r'additional_dependencies: \["(.*)"\]', text_of('.pre-commit-config.yaml'))) == {ruff}
    project = text_of('pyproject.toml')
    assert (
        re.search('^version = (.*)$', project, re.M)[1]
        == re.search('^version: (.*)$', text_of('CITATION.cff'), re.M)[1]
    )
    (oldest,) = re.findall('requires-python = ">=(.*)"', project)
    workflow = text_of('.github/workflows/ci.yml')
    assert f'python: ["{oldest}", ' in workflow and 'run: .ci/run\n' in workflow


def test_the_drawings_show_every_parameter():
    blocks = networks.convnet_blocks()
    assert sum(parameters for *_, parameters in blocks) == 9_231_114
    assert [side for kind, _, side, _ in blocks if kind == 'pool'] == [16, 8, 4, 2, 1]
    mlp, convnet = networks.figure().axes
    written = [text.get_text() for text in mlp.texts]
    assert f'{3072 * 100 + 100:,} parameters' in written and f'{100 * 10 + 10:,} parameters' in written
    assert len(convnet.patches) == len(blocks) == 1 + 8 + 5 + 1
