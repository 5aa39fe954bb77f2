"""check_solution.py: right solutions of two styles, mistakes in both, and code that hangs, exits or eats memory."""

import csv
import io
import json
import re
import shutil
import sys
import types
from functools import partial
from pathlib import Path

import judge_mistakes
import numpy as np
import pytest
from solutions import mistakes

import check_solution
from checking import processes, sandbox, table
from checking.guide import WHERE
from checking.items import CHECKS, NAMES, asked, judge
from checking.solution import FILES, Solution, locate
from checking.verdicts import CRASH, MISSING, RIGHT, UNWRITTEN, WRONG, Result

ROOT = Path(__file__).resolve().parent.parent
STUDENTS = ROOT / 'tests' / 'solutions' / 'students'
QUESTION = {'modules.py': '1.2', 'mlp_numpy.py': '1.2', 'mlp_pytorch.py': '2', 'custom_batchnorm.py': '3'}
OURS_AGAIN = [  # one for each kind of layout that the second style has otherwise
    'bias_gradient_mean_twice',
    'input_gradient_transposed',
    'leaky_relu_gradient_ignores_dout',
    'elu_derivative_without_alpha',
    'softmax_backward_overwrites_its_output',
    'weights_of_the_layer_before',
    'samples_mixed_when_flattened',
    'gamma_is_no_parameter',
    'batch_norm_gradient_overwrites_its_input',
    'running_statistics_not_used',
]


def verdicts(results):
    return {result.item: result.verdict for result in results}


def blamed(results):
    return {result.item: result for result in results if result.verdict in (WRONG, CRASH)}


def test_right_solution_of_another_style():
    """This repo's own is judged by unittests.py."""
    assert judge(judge_mistakes.solution(STUDENTS)) == [Result(name, RIGHT) for name in NAMES]


@pytest.mark.parametrize('name', mistakes.STUDENTS)
def test_mistake_is_blamed_alone_and_explained(name):
    file, _, _, item, words = mistakes.STUDENTS[name]
    changed = dict(judge_mistakes.students_mistakes())[name]
    found = blamed(judge(judge_mistakes.solution(STUDENTS, changed), [QUESTION.get(file, '4')]))
    assert found.keys() == {item}
    assert words in found[item].hint


@pytest.fixture(scope='module')
def kept():
    return dict(judge_mistakes.kept_mistakes())


@pytest.mark.parametrize('name', OURS_AGAIN)
def test_mistake_in_our_files_is_blamed_alone(kept, name):
    (file,) = kept[name]
    found = blamed(judge(judge_mistakes.solution(ROOT, kept[name]), [QUESTION.get(file, '4')]))
    assert found.keys() == {mistakes.KEPT[name]}
    assert found[mistakes.KEPT[name]].hint


def test_every_kept_mistake_in_a_model_file_is_known(kept):
    assert kept.keys() == mistakes.KEPT.keys() | mistakes.OPEN.keys()


def altered(*changes):
    """The students' solution with (file, old, new) exchanged, in this process."""
    texts = judge_mistakes.texts(STUDENTS)
    for file, old, new in changes:
        assert old in texts[file]
        texts[file] = texts[file].replace(old, new)
    return judge_mistakes.solution(STUDENTS, texts)


@pytest.mark.parametrize(
    'changes',
    [
        [
            ('modules.py', '(1, out_features)', '(out_features, 1)'),
            ('modules.py', "+ self.params['bias']", "+ self.params['bias'].T"),
            ('modules.py', 'np.sum(dout, axis=0, keepdims=True)', 'np.sum(dout, axis=0, keepdims=True).T'),
        ],
        [
            ('modules.py', 'y * np.log(x + 1e-12)', 'np.log(x[np.arange(n), y])'),
            ('modules.py', '-(y / (x + 1e-12)) / n', '-(np.eye(x.shape[1])[y] / x) / n'),
        ],
        [('modules.py', 'def forward(self, x):', 'def __call__(self, x):'), ('mlp_numpy.py', '.forward(', '(')],
        [('mlp_numpy.py', 'self.hidden', 'self.parts')],
        [('mlp_pytorch.py', 'out = self.last(x)', 'out = torch.softmax(self.last(x), 1)')],
        [('mlp_pytorch.py', 'nn.LeakyReLU(neg_slope)', 'nn.Sequential(nn.ELU(), nn.Dropout(0.5))')],
        [('modules.py', 'np.log(x + 1e-12)', 'np.log(x + 1e-8)')],
        [('convnet_pytorch.py', 'padding=1), nn.Batch', 'padding=1, bias=False), nn.Batch')],
        [('convnet_pytorch.py', 'self.fc(out', 'self.fc(nn.functional.dropout(out, 0.5, self.training)')],
        [('modules.py', 'self.a', 'self.k')],
        [('modules.py', 'grad[self.x <= 0]', 'grad[self.x < 0]')],
    ],
    ids=[
        'bias (out, 1)',
        'integer labels',
        '__call__',
        'attributes',
        'probabilities',
        'ELU and dropout',
        'small epsilon',
        'no bias',
        'dropout in training',
        'slope under another name',
        'slope at 0',
    ],
)
def test_what_the_assignment_leaves_open_is_right(changes):
    question = QUESTION.get(changes[0][0], '4')
    assert set(verdicts(judge(altered(*changes), [question])).values()) == {RIGHT}


KAIMING = [
    ('modules.py', '(self, in_features, out_features)', '(self, in_features, out_features, input_layer=False)'),
    ('modules.py', 'mu, sigma = 0, 0.0001', 'mu, sigma = 0, np.sqrt((1 if input_layer else 2) / in_features)'),
]


def test_editions_with_an_input_layer_ask_for_kaiming_s_initialisation():
    assert judge(altered(*KAIMING), ['1.2'])[0] == Result('linear.init', RIGHT)
    assert judge(altered(KAIMING[0]), ['1.2'])[0].verdict == WRONG
    assert judge(altered(KAIMING[0], ('modules.py', '0.0001', '(2 / in_features)')), ['1.2'])[0].verdict == WRONG


def test_eps_may_have_any_name():
    names = [('n_neurons, eps=1e-5', 'n_neurons, ε=1e-5'), ('self.eps = eps', 'self.eps = ε')]
    changed = altered(*(('custom_batchnorm.py', *change) for change in names))
    found = verdicts(judge(changed, ['3']))
    assert found['batchnorm_autograd.forward'] == found['batchnorm_module'] == RIGHT


@pytest.fixture
def of_2020():
    text = (STUDENTS.parent / 'convnet_2020.py').read_text()

    def convnet(*change):
        assert not change or change[0] in text
        exec(compile(text.replace(*change) if change else text, 'convnet_2020.py', 'exec'), names := {})
        return judge(Solution(modules={'convnet_pytorch': types.SimpleNamespace(**names)}), ['4'])[0]

    return convnet


def test_convnet_of_the_2020_edition(of_2020):
    assert of_2020() == Result('convnet', RIGHT, 'the network of the 2020 edition')
    wrong = of_2020('self.conv(F.relu(self.norm(x)))', 'F.relu(self.conv(self.norm(x)))')
    assert wrong.verdict == WRONG and 'ReLU stands after the convolution' in wrong.hint
    assert '13, with 64, 64' in of_2020('Block(64), ', '').hint


def test_convolutions_that_leave_no_pixel_over_say_why(of_2020):
    crash = of_2020('padding=1), Block', 'padding=0, stride=9), nn.MaxPool2d(9), Block')
    assert crash.verdict == CRASH and 'convolution 1 has filters' in crash.hint


SKELETON = """
from torch import nn
from torch.autograd import Function

class LinearModule:
    def __init__(self, in_features, out_features, input_layer=False):
        "Words."
    def forward(self, x):
        return out
    def backward(self, dout):
        return dx

class ReLUModule:
    forward, backward = LinearModule.forward, LinearModule.backward

class SoftMaxModule(ReLUModule):
    pass

class CrossEntropyModule:
    def forward(self, x, y):
        return out
    def backward(self, x, y):
        pass

class MLP(nn.Module):
    def __init__(self, *sizes):
        "Words."
    def forward(self, x):
        return out

class CustomBatchNormAutograd(nn.Module):
    def __init__(self, n_neurons, eps=1e-5):
        super().__init__()
    def forward(self, input):
        return out

class CustomBatchNormManualFunction(Function):
    @staticmethod
    def forward(ctx, input, gamma, beta, eps=1e-5):
        return out

CustomBatchNormManualModule, ConvNet = CustomBatchNormAutograd, MLP
"""


def test_empty_functions_are_missing_too():
    exec(compile(SKELETON, 'modules.py', 'exec'), names := {})
    solution = Solution(modules=dict.fromkeys(FILES, types.SimpleNamespace(**names)))
    assert set(verdicts(judge(solution)).values()) == {MISSING}


def test_name_that_is_misspelt_is_a_crash():
    found = verdicts(judge(altered(('modules.py', 'self.x = x', 'self.x = X')), ['1.2']))
    assert found['activation.forward'] == CRASH


def test_one_fault_is_charged_once():
    no_gamma = altered(('custom_batchnorm.py', 'self.gamma', 'self.gamma_'))
    found = verdicts(judge(no_gamma, ['3']))
    assert WRONG not in found.values()
    lost = altered(('mlp_numpy.py', 'for h in n_hidden:', 'for h in n_hidden[1:]:'))
    assert blamed(judge(lost, ['1.2'])).keys() == {'mlp_numpy.forward'}


def test_unwritten_parts_are_missing_and_nothing_else():
    solution = altered(
        ('modules.py', 'dx = dout * grad', f'raise {UNWRITTEN.__name__}'),
        ('modules.py', '        out = -np.sum(y * np.log(x + 1e-12)) / n\n        return out', '        pass'),
    )
    found = verdicts(judge(solution, ['1.2']))
    missing = {item for item, verdict in found.items() if verdict == MISSING}
    assert missing == {'activation.input', 'cross_entropy.forward', 'cross_entropy.input', 'mlp_numpy.gradients'}
    assert set(found.values()) == {RIGHT, MISSING}


def test_forgotten_return_is_spoken_of():
    changes = [('modules.py', 'keepdims=True)\n        return dx', 'keepdims=True)')]
    found = {r.item: r for r in judge(altered(*changes), ['1.2'])}
    assert 'its return is forgotten' in found['linear.input'].detail
    assert found['linear.weight'].verdict == RIGHT


def test_gamma_and_beta_exchanged_in_forward_are_no_fault_of_their_gradients():
    changes = [('custom_batchnorm.py', 'self.scale * norm + self.shift', 'self.shift * norm + self.scale')]
    assert blamed(judge(altered(*changes), ['3.1'])).keys() == {'batchnorm_autograd.forward'}


def test_crash_names_file_and_line():
    results = judge(altered(('modules.py', 'self.s = e /', 'self.s = nothing /')), ['1.2'])
    (crash,) = blamed(results).values()
    assert crash.item == 'softmax.forward'
    assert re.search(r"NameError: name 'nothing' is not defined \(modules.py:\d+", crash.detail)


def test_wrong_module_is_not_the_mlp_s_fault():
    found = {r.item: r for r in judge(altered(('modules.py', 'dx = dout * grad', 'dx = -dout * grad')), ['1.2'])}
    assert found['mlp_numpy.gradients'].verdict == RIGHT
    assert 'follows from a module' in found['mlp_numpy.gradients'].detail


@pytest.mark.parametrize(
    ('old', 'new', 'item'),
    [
        ('return dx\n\n\nclass Cross', 'return dx[0]\n\n\nclass Cross', 'softmax.input'),
        ('self.s = e / ', 'self.s = e[:, :2] / ', 'softmax.forward'),
        ("+ self.params['bias']\n", "+ self.params['bias']\n        out = out.T\n", 'linear.forward'),
    ],
)
def test_shape_that_is_wrong_is_charged_to_its_module_alone(old, new, item):
    assert blamed(judge(altered(('modules.py', old, new)), ['1.2'])).keys() == {item}


HOSTILE = """
import os, subprocess, sys
import matplotlib
import numpy as np
matplotlib.use('TkAgg')
import matplotlib.pyplot as plt
open('written_at_import.txt', 'w').write('x')

class LinearModule:
    def __init__(self, n_in, n_out):
        self.params = {'weight': np.random.normal(0, 1e-4, (n_out, n_in)), 'bias': np.zeros(n_out)}
        self.grads = {'weight': np.zeros((n_out, n_in)), 'bias': np.zeros(n_out)}
    def forward(self, x):
        while True:
            pass

class ReLUModule:
    def forward(self, x):
        sys.stdout = sys.stderr = None
        os.write(1, b'noise')
        plt.figure()
        subprocess.Popen(['sleep', '987654'], start_new_session=True, env={})
        self.x = x
        return np.maximum(x, 0)
    def backward(self, dout):
        sys.exit(0)

class SoftMaxModule:
    def forward(self, x):
        os._exit(0)

class CrossEntropyModule:
    def forward(self, x, y):
        self.hog = [np.ones(2**27) for _ in range(100)]
        return 0.0
"""


def test_replacing_what_is_shared_with_the_judge_costs_that_part_alone():
    changes = [('modules.py', 'out = np.maximum(0, x)', 'np.max = np.abs = np.all = lambda *a, **k: 0.0; out = 3')]
    found = {r.item: r for r in judge(altered(*changes), ['1.2'])}
    assert found['activation.forward'].verdict == CRASH
    assert 'replaces numpy.' in found['activation.forward'].detail
    assert found['softmax.forward'].verdict == found['cross_entropy.input'].verdict == RIGHT


def test_settings_of_numpy_are_put_back():
    changes = [('modules.py', 'out = np.maximum(0, x)', "np.seterr(all='raise'); out = np.maximum(0, x)")]
    before = np.geterr()
    assert set(verdicts(judge(altered(*changes), ['1.2'])).values()) == {RIGHT}
    assert np.geterr() == before


@pytest.fixture
def hostile(tmp_path):
    folder = tmp_path / 'answer'
    folder.mkdir()
    (folder / 'modules.py').write_text(HOSTILE)
    return folder


def test_what_hangs_exits_or_eats_memory_costs_that_part_alone(hostile, capfd):
    flags = ['--question', '1.2', '--seconds', '1', '--memory', '1', '--json', '-', str(hostile)]
    assert check_solution.main(flags) == 1
    out, err = capfd.readouterr()
    found = {row['item']: row for row in json.loads(out)}
    assert err == ''
    assert found['linear.init']['verdict'] == RIGHT
    assert found['linear.forward']['verdict'] == CRASH and 'after 1 seconds' in found['linear.forward']['detail']
    assert found['linear.bias']['verdict'] == MISSING
    assert found['activation.forward']['verdict'] == RIGHT
    assert found['activation.input']['verdict'] == CRASH and 'SystemExit' in found['activation.input']['detail']
    assert found['softmax.forward']['verdict'] == CRASH and 'exit' in found['softmax.forward']['detail']
    assert found['cross_entropy.forward']['verdict'] == CRASH and 'memory' in found['cross_entropy.forward']['detail']
    assert found['mlp_numpy.forward']['verdict'] == MISSING
    assert sorted(path.name for path in hostile.iterdir()) == ['modules.py']
    if sys.platform == 'linux':  # where what a part has started can be found
        assert not [path for path in Path('/proc').glob('[0-9]*/cmdline') if b'987654' in path.read_bytes()]


def test_import_that_hangs_is_tried_once(hostile):
    (hostile / 'modules.py').write_text('while True: pass')
    with processes.Workers(1) as workers:
        limits = sandbox.Limits(seconds=0.5)
        results = workers.submit(partial(sandbox.judge_part, hostile, asked(['1.2']), limits)).result()
    assert {r.verdict for r in results} == {CRASH, MISSING}
    assert all('import of modules.py' in r.detail for r in results if r.verdict == CRASH)


def test_what_a_process_reports_is_checked():
    assert processes.parsed(b'[' * 100000) == {} == processes.parsed(b'\xff') == processes.parsed(b'3')
    assert sandbox.result_of({'result': [0, 'right', '', '']}, [0]) == Result(CHECKS[0].name, RIGHT)
    for fields in ([1, 'right', '', ''], [0, 'perfect', '', ''], [0, 'right', '', None], [0, 'right'], 'right'):
        assert sandbox.result_of({'result': fields}, [0]) is None
    assert table.plain('\x1b[31mred\n') == ' [31mred '


def test_a_terminal_without_our_letters(tmp_path, monkeypatch):
    folder = tmp_path / 'bessel'
    shutil.copytree(STUDENTS, folder)
    batchnorm = folder / 'custom_batchnorm.py'
    batchnorm.write_text(batchnorm.read_text().replace('unbiased=False', 'unbiased=True', 1))
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(stream := io.BytesIO(), encoding='ascii'))
    assert check_solution.main([str(folder), '--question', '3.1']) == 1
    assert rb'divided by B \u2212 1' in stream.getvalue()


def test_a_standard_output_that_is_closed(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'stdout', None)
    marks = tmp_path / 'marks.csv'
    assert check_solution.main([str(STUDENTS), '--question', '2', '--csv', str(marks)]) == 0
    assert marks.exists()


def test_one_folder_and_a_class(tmp_path, capsys):
    for name in ('good', 'bad'):
        shutil.copytree(STUDENTS, tmp_path / name / 'code')
    modules = tmp_path / 'bad' / 'code' / 'modules.py'
    modules.write_text(modules.read_text().replace('np.exp(x - b)', 'np.exp(x)'))
    (tmp_path / 'notes.txt').write_text('')
    (tmp_path / 'empty').mkdir()
    marks = tmp_path / 'marks.csv'
    assert check_solution.main([*map(str, sorted(tmp_path.iterdir())), '--question', '1.2', '--csv', str(marks)]) == 1
    out, err = capsys.readouterr()
    bad, empty, good = out.splitlines()
    assert re.findall(r'left out.*', err) == [f'left out, as it is no folder: {tmp_path / "notes.txt"}']
    assert '15/16 right' in bad and 'softmax.stable: wrong' in bad
    assert '16/16 right' in good
    assert '0/16 right' in empty and 'none of the files' in empty
    assert max(map(len, (bad, empty, good))) <= 100
    rows = list(csv.DictReader(io.StringIO(marks.read_text())))
    assert [(row['right'], row['softmax.stable'], row['first_to_mend']) for row in rows] == [
        ('15', WRONG, 'softmax.stable'),
        ('0', MISSING, 'linear.init'),
        ('16', RIGHT, ''),
    ]


def test_a_link_keeps_its_name_and_a_slash_makes_no_second_folder(tmp_path, capsys):
    shutil.copytree(STUDENTS, tmp_path / 'version 2')
    (tmp_path / 'anna').symlink_to('version 2')
    folders = [f'{tmp_path}/anna', f'{tmp_path}/anna/', f'{tmp_path}/version 2']
    assert check_solution.main([*folders, '--question', '2']) == 0
    assert capsys.readouterr().out.splitlines() == ['anna       1/1 right', 'version 2  1/1 right']


def test_table_fits_and_says_what_to_mend_first(capsys):
    results = [Result('linear.init', RIGHT), Result('linear.bias', WRONG, 'the gradient: ' + 'words ' * 40, 'a hint')]
    table.print_table(results, io_out := io.StringIO())
    text = io_out.getvalue()
    assert max(map(len, text.splitlines())) <= table.WIDTH
    assert 'Begin with linear.bias: a hint. The report derives it in section 1.1 c), equation (1.25).' in text
    assert '\033' not in text


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ([], 'required'),
        (['nowhere'], 'nowhere is no folder'),
        ([str(ROOT), 'nowhere'], 'nowhere is no folder'),
        ([str(ROOT), '--qestion', '2'], 'did you mean --question?'),
        ([str(ROOT / 'docs')], 'none of the files'),
        ([str(ROOT), '--question', '7'], 'invalid choice'),
        ([str(ROOT), '--seconds', '0'], 'must be a number above 0'),
        ([str(ROOT), '--csv', '-', '--json', '-'], 'both'),
        ([str(ROOT), '--csv', 'nowhere/marks.csv'], 'there is no folder nowhere'),
        ([''], 'an empty name is no folder'),
        ([str(ROOT), '--csv', str(ROOT)], 'it is a folder'),
        ([str(ROOT), '--csv', 'marks', '--json', 'marks'], "can't both go to marks"),
    ],
)
def test_wrong_call_is_one_line_and_exit_status_2(flags, words, capsys):
    with pytest.raises(SystemExit) as raised:
        check_solution.main(flags)
    _, err = capsys.readouterr()
    assert raised.value.code == 2
    assert words in err and err.count('\n') == 1


def test_solution_is_found_below(tmp_path):
    shutil.copytree(STUDENTS, tmp_path / 'assignment_1' / 'code')
    assert locate(tmp_path) == tmp_path / 'assignment_1' / 'code'
    assert locate(tmp_path / 'assignment_1' / 'code') == tmp_path / 'assignment_1' / 'code'


def test_of_several_solutions_in_a_folder_it_is_said_which_is_judged(tmp_path, capsys):
    for name in ('b', 'a', '.ipynb_checkpoints'):
        shutil.copytree(STUDENTS, tmp_path / name)
    assert check_solution.main([str(tmp_path), '--question', '2']) == 0
    text = capsys.readouterr().err
    assert f'judges {tmp_path / "a"} alone' in text and text.endswith('too: b\n')


def test_missing_files_are_missing():
    assert set(verdicts(judge(Solution(modules={}))).values()) == {MISSING}


def test_report_is_where_the_guide_says():
    text = re.sub(r'(?<!\\)%.*', '', (ROOT / 'report' / 'report.tex').read_text(encoding='utf-8'))
    section = subsection = part = equation = 0
    places = {}
    pattern = r'\\(section|subsection|subsubsection)\{|\\begin\{equation\}\s*\\label\{([^}]+)\}|\\label\{(sec:[^}]+)\}'
    for match in re.finditer(pattern, text):
        if match[1] == 'section':
            section, subsection, part, equation = section + 1, 0, 0, 0
        elif match[1] == 'subsection':
            subsection, part = subsection + 1, 0
        elif match[1] == 'subsubsection':
            part += 1
        else:
            equation += bool(match[2])
            here = f'{section}' + (f'.{subsection}' if subsection else '') + (f' {"abcdef"[part - 1]})' if part else '')
            places[match[2] or match[3]] = (here, f'{section}.{equation}' if match[2] else '')
    assert WHERE.keys() == set(NAMES)
    assert {item: place for item, (label, *place) in WHERE.items()} == {
        item: list(places[label]) for item, (label, *_) in WHERE.items()
    }
