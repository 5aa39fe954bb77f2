"""The report: every equation has its check, every slip fails its own, every number is that of a run."""

import json
import re
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'report'))
import build  # noqa: E402 - first: it names the folders where the others find their modules
import equations  # noqa: E402
import published  # noqa: E402
from costs import Counted, convnet_layers, step_cost, total  # noqa: E402
from evidence import MissingResult  # noqa: E402
from tex import camel  # noqa: E402

import custom_batchnorm  # noqa: E402
import mlp_numpy  # noqa: E402
import modules  # noqa: E402

_, BODY = re.sub(r'(?<!\\)%.*', '', (ROOT / 'report' / 'report.tex').read_text(encoding='utf-8')).split(
    r'\begin{document}'
)


def labels(kind):
    return re.findall(rf'\\label{{{kind}:([a-z-]+)}}', BODY)


def equation_numbers():
    """What the PDF prints for each equation, {label: '3.8'}: equations are counted anew in each numbered section."""
    found, section, equation = {}, 0, 0
    for is_section, label in re.findall(r'\\(section){|\\label{eq:([a-z-]+)}', BODY):
        section, equation = (section + 1, 0) if is_section else (section, equation + 1)
        if label:
            found[label] = f'{section}.{equation}'
    return found


# The equations that a docstring names by their numbers, in parentheses.
DOCUMENTED = {
    modules.LinearModule: (
        'linear batch-linear chain-weight batch-weight chain-bias batch-bias chain-input batch-hidden'
    ),
    modules.ReLUModule: 'relu chain-hidden batch-hidden relu-jacobian',
    modules.LeakyReLUModule: 'chain-hidden',
    modules.ELUModule: 'chain-hidden',
    modules.SoftMaxModule: 'softmax shifted-softmax batch-softmax softmax-matrix batch-output',
    modules.CrossEntropyModule: 'cross-entropy batch-loss cross-entropy-gradient batch-cross-entropy',
    mlp_numpy.MLP.backward: 'batch-output batch-hidden',
    custom_batchnorm.CustomBatchNormAutograd: 'bn-statistics bn-forward',
    custom_batchnorm.batch_statistics: 'bn-statistics bn-forward',
    custom_batchnorm.CustomBatchNormManualFunction: 'bn-forward bn-parameters bn-jacobian bn-normalised bn-closed',
    custom_batchnorm.CustomBatchNormManualModule: 'bn-forward bn-parameters bn-closed',
}


@pytest.fixture(scope='module')
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp('generated')
    build.build(folder)
    return folder


@pytest.fixture(scope='module')
def numbers(generated):
    return dict(re.findall(r'\\newcommand{\\(\w+)}{(.*)}', (generated / 'numbers.tex').read_text()))


@pytest.mark.parametrize('kind', ['eq', 'err'])
def test_every_equation_has_a_check_and_every_check_an_equation(kind):
    prefix = f'test_{kind}_'
    checked = {name.removeprefix(prefix).replace('_', '-') for name in equations.checks(prefix)}
    assert set(labels(kind)) == checked
    assert len(labels(kind)) == len(checked), 'a label stands twice'


def test_equations_are_numbered_as_the_pdf_numbers_them():
    """By section, in the order of the labels; as LaTeX itself has written them down where the report was built."""
    tex = (ROOT / 'report' / 'report.tex').read_text(encoding='utf-8')
    assert r'\numberwithin{equation}{section}' in tex
    assert re.findall(r'\\(?:tag|notag|nonumber|setcounter{equation}|appendix|include|input)\b', BODY) == []
    aux = ROOT / 'report' / 'generated' / 'report.aux'
    if aux.exists() and aux.stat().st_mtime > (ROOT / 'report' / 'report.tex').stat().st_mtime:
        printed = re.findall(r'\\newlabel{eq:([a-z-]+)}{{([\d.]+)}', aux.read_text(encoding='utf-8'))
        assert dict(printed) == equation_numbers()


@pytest.mark.parametrize('documented', DOCUMENTED, ids=lambda documented: documented.__qualname__)
def test_docstrings_name_their_equations_by_the_number_in_the_pdf(documented):
    numbers = equation_numbers()
    named = re.findall(r'\((\d\.\d+)\)', documented.__doc__)
    assert set(named) == {numbers[label] for label in DOCUMENTED[documented].split()}


def test_no_other_docstring_names_an_equation():
    """Else its number could become wrong."""
    for module in (modules, mlp_numpy, custom_batchnorm):
        named = re.findall(r'\(\d\.\d+\)', Path(module.__file__).read_text(encoding='utf-8'))
        checked = [d.__doc__ for d in DOCUMENTED if d.__module__ == module.__name__]
        assert sorted(named) == sorted(re.findall(r'\(\d\.\d+\)', ' '.join(checked))), module.__name__


def test_checks_name_their_equation_by_the_number_in_the_pdf():
    for label, number in equation_numbers().items():
        check = equations.checks('test_eq_')[f'test_eq_{label.replace("-", "_")}']
        assert re.match(r'Equation (\d\.\d+)\.', check.__doc__)[1] == number, label


def test_every_displayed_formula_is_a_labelled_equation():
    displays = re.findall(r'\\begin{equation}\s*(.*)', BODY)
    assert len(displays) == len(labels('eq'))
    assert [line for line in displays if not line.startswith(r'\label{eq:')] == []
    assert re.findall(r'\\\[|\$\$|\\begin{(?:equation\*|align|gather|multline|displaymath|eqnarray)', BODY) == []


def test_every_reference_to_an_equation_is_to_a_label():
    assert set(re.findall(r'\\eqref{eq:([a-z-]+)}', BODY)) <= set(labels('eq'))


def test_no_measured_number_is_typed():
    """Those come with a decimal point or a percent sign."""
    assert re.findall(r'\d+\.\d+(?!\d|pt|em|cm)|\d+(?:\\,)?\\%', BODY) == []


def test_every_number_is_used_and_every_used_one_is_there(numbers):
    used = set(re.findall(r'\\([A-Za-z]+)', BODY))
    assert set(numbers) <= used
    assert {f'err{camel(name)}' for name in labels('err')} <= set(numbers)


def test_every_figure_and_table_is_used(generated):
    used = re.findall(r'\\(?:generated|includegraphics(?:\[\S+\])?){(\w+)}', BODY)
    assert sorted([*used, 'numbers']) == sorted(path.stem for path in generated.iterdir())


def test_accuracies_are_those_of_the_last_steps(numbers):
    for name, macro in (('mlp_numpy', 'numpy'), ('mlp_pytorch', 'torch'), ('convnet_pytorch', 'conv')):
        found = [json.loads(path.read_text()) for path in (ROOT / 'results' / name).glob('*/summary.json')]
        values = [100 * summary['test_accuracy'] for summary in found]
        assert numbers[f'{macro}Accuracy'] == f'${statistics.mean(values):.1f} \\pm {statistics.stdev(values):.1f}$'
        assert numbers[f'{"conv" if macro == "conv" else "numpy"}Seeds'] == str(len(values))


def test_same_results_same_bytes(generated, tmp_path):
    build.build(tmp_path)
    for path in generated.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    'missing', ['convnet_pytorch', 'mlp_numpy/seed42/history.csv', 'mlp_pytorch/seed43/summary.json']
)
def test_a_missing_result_is_named(missing, tmp_path, monkeypatch):
    shutil.copytree(ROOT / 'results', tmp_path / 'results')
    monkeypatch.setattr(published, 'ROOT', tmp_path)
    gone = tmp_path / 'results' / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(MissingResult, match=missing):
        build.build(tmp_path / 'generated')


def test_counted_operations():
    a, b = np.ones((2, 3), np.float32).view(Counted), np.ones((3, 4), np.float32)

    def operations():
        c = a @ b
        c += 1
        assert c.sum() == 32

    # 2 x 3 x 4 multiplications and additions; 8 elements plus 1, and 8 summed up
    moved = 4 * ((6 + 12 + 8) + (8 + 8) + (8 + 1))
    assert Counted.count(operations) == {'product': 48, 'other': 16, 'bytes': moved}


def test_cost_of_a_step_is_the_equation():
    """F = 2 B (3 Σ n_l n_(l−1) − n_1 n_0)"""
    cost = total(step_cost([30, 20], 50))
    assert cost['product'] == 2 * 50 * (3 * (30 * 3072 + 20 * 30 + 10 * 20) - 30 * 3072)


def test_convnet_layers_add_up():
    from convnet_pytorch import ConvNet

    layers = convnet_layers()
    assert sum(row[2] for row in layers) == sum(p.numel() for p in ConvNet(3, 10).parameters())
    assert [row[1] for row in layers][-2:] == [(512, 1, 1), (10,)]
