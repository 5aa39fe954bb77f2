"""The command line of the three training scripts: defaults, what each flag does, and what a wrong one is told."""

import re
import runpy
import subprocess
import sys

import batches
import numpy as np
import pytest
from conftest import ROOT, SCRIPTS, SHORT, failing_run, failing_short_run, in_a_terminal, parse, process, short_run

import cifar10_utils
import training.processes

TORCH_SCRIPTS = SCRIPTS[1:]
FOLDER = './cifar10/cifar-10-batches-py'
COMMON_OFF = {
    'dataset': 'cifar10', 'data_url': None, 'validation_size': 0, 'seed': 42,
    'resume': False, 'overwrite': False, 'quiet': False, 'epochs': None,
}  # fmt: skip
TORCH_OFF = {
    'momentum': 0, 'weight_decay': 0, 'lr_schedule': 'constant', 'label_smoothing': 0, 'augment': 'none', 'ema': 0,
    'standardize': False, 'device': 'auto', 'tensorboard': False,
}  # fmt: skip
MLP_DEFAULTS = {
    'dnn_hidden_units': [100], 'learning_rate': 2e-3, 'max_steps': 1500, 'batch_size': 200, 'eval_freq': 100,
    'data_dir': FOLDER,
}  # fmt: skip
DEFAULTS = {
    'train_mlp_numpy': MLP_DEFAULTS | {'dtype': 'float32'},
    'train_mlp_pytorch': MLP_DEFAULTS | TORCH_OFF | {
        'optimizer': 'sgd', 'precision': 'fp32', 'batch_norm': 'none', 'dropout': 0, 'activation': 'relu',
        'init': 'normal',
    },
    'train_convnet_pytorch': TORCH_OFF | {
        'learning_rate': 1e-4, 'max_steps': 5000, 'batch_size': 32, 'eval_freq': 500, 'data_dir': FOLDER,
        'optimizer': 'adam', 'precision': 'auto', 'cutout': 8,
    },
}  # fmt: skip

# Arguments that change what is computed, each with those that it is compared to.
COMMON_EFFECTS = {
    'learning_rate': '--learning_rate 0.1',
    'max_steps': '--max_steps 6',
    'batch_size': '--batch_size 10',
    'eval_freq': '--eval_freq 1',
    'validation_size': '--validation_size 20',
    'seed': '--seed 7',
    'epochs': '--epochs 2',
}
TORCH_EFFECTS = {
    'momentum': ('--momentum 0.9 --optimizer sgd', '--optimizer sgd'),
    'weight_decay': '--weight_decay 0.1',
    'lr_schedule': ['--lr_schedule cosine', '--lr_schedule onecycle'],
    'label_smoothing': '--label_smoothing 0.1',
    'augment': '--augment',
    'ema': '--ema 0.9',
    'standardize': '--standardize',
    'precision': '--precision bf16',
}  # fmt: skip
EFFECTS = {
    'train_mlp_numpy': COMMON_EFFECTS | {'dnn_hidden_units': ['--dnn_hidden_units 9', '--dnn_hidden_units='],
                                         'dtype': '--dtype float64'},
    'train_mlp_pytorch': COMMON_EFFECTS | TORCH_EFFECTS | {
        'dnn_hidden_units': ['--dnn_hidden_units 9', '--dnn_hidden_units='],
        'optimizer': ['--optimizer adam', '--optimizer ADAMW'],
        'batch_norm': [f'--batch_norm {name}' for name in ('torch', 'autograd', 'manual')],
        'dropout': '--dropout 0.5',
        'activation': [f'--activation {name}' for name in ('leaky_relu', 'elu', 'gelu', 'silu', 'tanh')],
        'init': [f'--init {name}' for name in ('pytorch', 'xavier', 'kaiming')],
    },
    'train_convnet_pytorch': COMMON_EFFECTS | TORCH_EFFECTS | {
        'optimizer': ['--optimizer SGD', ('--optimizer adamw --weight_decay 0.1', '--weight_decay 0.1')],
        'cutout': [('--augment --cutout 0', '--augment'), ('--augment --cutout 32', '--augment')],
    },
}  # fmt: skip
# What these do is tested one by one, here or in test_resume.py.
TESTED_ALONE = {
    'dataset', 'data_dir', 'data_url', 'out_dir', 'resume', 'overwrite', 'quiet', 'device', 'tensorboard',
}  # fmt: skip
CASES = [
    pytest.param(script, *(effect if isinstance(effect, tuple) else (effect, '')), id=f'{script} {name} {i}')
    for script in SCRIPTS
    for name, effects in EFFECTS[script].items()
    for i, effect in enumerate(effects if isinstance(effects, list) else [effects])
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Keeps a bad flag that is let through from starting a default run, or a download, in the user's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar10_utils, 'download_cifar10', lambda *args: pytest.fail('the flags were let through'))


@pytest.fixture(scope='module')
def baselines():
    """Histories of runs that others are compared to, by script and arguments."""
    return {}


@pytest.mark.parametrize('script', SCRIPTS)
def test_defaults_are_the_assignments(script):
    out_dir = {'out_dir': 'runs/' + script.removeprefix('train_')}
    assert vars(parse(script)) == COMMON_OFF | out_dir | DEFAULTS[script]


# What each flag does


@pytest.mark.parametrize('script', SCRIPTS)
def test_no_flag_is_left_out_here(script):
    assert EFFECTS[script].keys() <= vars(parse(script)).keys() <= EFFECTS[script].keys() | TESTED_ALONE


@pytest.mark.parametrize(('script', 'args', 'without'), CASES)
def test_flag_changes_the_run(quick, data_dir, tmp_path, baselines, script, args, without):
    if (script, without) not in baselines:
        baselines[script, without] = short_run(script, data_dir, tmp_path / 'without', *without.split())
    assert short_run(script, data_dir, tmp_path / 'with', *args.split()) != baselines[script, without]


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_seed_repeats_the_run(quick, data_dir, tmp_path, script):
    more = [] if 'numpy' in script else ['--augment']
    assert short_run(script, data_dir, tmp_path / 'a', *more) == short_run(script, data_dir, tmp_path / 'b', *more)


@pytest.mark.parametrize('script', TORCH_SCRIPTS)
def test_optimizers_and_schedules_all_differ_and_take_any_case(quick, data_dir, tmp_path, script):
    def run(name, *args):
        return str(short_run(script, data_dir, tmp_path / name, *args))

    decay = ['--weight_decay', '0.1']  # adam and adamw differ by their weight decay alone
    runs = {run(name, '--optimizer', name, *decay) for name in ('sgd', 'adam', 'adamw')}
    assert len(runs) == 3
    assert run('any case', '--optimizer', 'AdamW', *decay) in runs
    assert len({run(name, '--lr_schedule', name) for name in ('constant', 'cosine', 'onecycle')}) == 3


@pytest.mark.parametrize('steps', [1, 2, 3])
@pytest.mark.parametrize('schedule', ['cosine', 'onecycle'])
def test_a_schedule_fits_any_number_of_steps(quick, data_dir, tmp_path, schedule, steps):
    history = short_run('train_mlp_pytorch', data_dir, tmp_path, '--lr_schedule', schedule, '--max_steps', steps)
    assert history[-1]['step'] == steps and np.isfinite(history[-1]['test_loss'])


@pytest.mark.parametrize('script', SCRIPTS)
def test_validation_size_adds_the_validation_figures(quick, data_dir, tmp_path, script):
    columns = ['step', 'train_loss', 'train_accuracy', 'validation_loss', 'validation_accuracy', 'test_loss',
               'test_accuracy', 'learning_rate']  # fmt: skip
    history = short_run(script, data_dir, tmp_path / 'with', '--validation_size', 20)
    assert list(history[0]) == columns
    history = short_run(script, data_dir, tmp_path / 'without')
    assert list(history[0]) == [name for name in columns if 'validation' not in name]


@pytest.mark.parametrize('script', SCRIPTS)
def test_epochs_are_passes_over_the_training_set(quick, data_dir, tmp_path, script):
    history = short_run(script, data_dir, tmp_path, '--epochs', 3, '--validation_size', 10, '--batch_size', 60)
    assert history[-1]['step'] == 3 * (190 // 60)


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_line_per_evaluation_and_none_with_quiet(quick, data_dir, tmp_path, capfd, script):
    history = short_run(script, data_dir, tmp_path / 'loud')
    out, err = capfd.readouterr()
    assert err == ''  # no progress bar where there is no terminal
    for row in history:
        line = next(line for line in out.splitlines() if line.startswith(f'step {row["step"]} '))
        assert f'test loss {row["test_loss"]:.4f} accuracy {row["test_accuracy"]:.4f}' in line
        assert re.search(r'  [\d,]+ images/s  \d\d:\d\d left$' if row['step'] < 5 else r'  [\d,]+ images/s$', line)
    assert str(tmp_path / 'loud') in out
    short_run(script, data_dir, tmp_path / 'quiet', '--quiet')
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('script', SCRIPTS)
def test_data_dir_says_which_data(quick, data_dir, tmp_path, script):
    batches.write_folder(tmp_path / 'other', n_train=40, n_test=40, seed=1)
    assert short_run(script, data_dir, tmp_path / 'a') != short_run(script, tmp_path / 'other', tmp_path / 'b')


@pytest.mark.parametrize('script', SCRIPTS)
def test_dataset_shapes10_takes_the_built_in_images(quick, tmp_path, monkeypatch, script):
    drawn = batches.write_folder(tmp_path / 'drawn', n_train=30, n_test=20, seed=2)
    monkeypatch.setattr('data.shapes10.shapes10', lambda: drawn)
    history = short_run(script, tmp_path / 'nothing here', tmp_path / 'run', '--dataset', 'shapes10')
    assert history == short_run(script, tmp_path / 'drawn', tmp_path / 'same')


@pytest.mark.parametrize('script', SCRIPTS)
def test_data_url_is_where_missing_data_is_fetched(quick, tmp_path, monkeypatch, script):
    asked = []

    def download(folder, url):
        asked.append(url)
        batches.write_folder(tmp_path / 'data', n_train=30, n_test=20)

    monkeypatch.setattr(cifar10_utils, 'download_cifar10', download)
    short_run(script, tmp_path / 'data', tmp_path / 'run', '--data_url', 'http://127.0.0.1/mine.tar.gz')
    assert asked == ['http://127.0.0.1/mine.tar.gz']


@pytest.mark.parametrize('script', TORCH_SCRIPTS)
def test_device_and_precision_are_told(quick, data_dir, tmp_path, capsys, script):
    for precision, told in [('fp32', 'fp32'), ('bf16', 'bf16'), ('auto', '(fp32|bf16)')]:
        short_run(script, data_dir, tmp_path / precision, '--device', 'cpu', '--precision', precision)
        assert re.search(rf'\bcpu in {told}\b', capsys.readouterr().out)


@pytest.mark.parametrize('script', TORCH_SCRIPTS)
def test_tensorboard_gets_the_history(quick, data_dir, tmp_path, script):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    short_run(script, data_dir, tmp_path / 'without')
    assert not list((tmp_path / 'without').rglob('*tfevents*'))
    history = short_run(script, data_dir, tmp_path / 'with', '--tensorboard')
    events = EventAccumulator(str(next((tmp_path / 'with').rglob('*tfevents*')).parent)).Reload()
    assert [(e.step, e.value) for e in events.Scalars('test_loss')] == [
        (row['step'], np.float32(row['test_loss'])) for row in history
    ]


# Wrong flags

NUMBERS = ['', 'abc', 'nan', 'inf', '-inf', '1e999', '-1', 'zwölf', '٣x', '1,5']
WHOLE = [*NUMBERS, '1.5', '1e3', '9' * 400, '9' * 5000]
BAD = {
    'learning_rate': [*NUMBERS, '0'],
    'max_steps': [*WHOLE, '0'],
    'batch_size': [*WHOLE, '0'],
    'eval_freq': [*WHOLE, '0'],
    'validation_size': WHOLE,
    'seed': [*WHOLE, str(2**32)],
    'dataset': ['', 'mnist', 'cifar', 'CIFAR-10'],
    'out_dir': [''],
    'data_dir': [''],
    'epochs': [*WHOLE, '0'],
}
BAD_TORCH = {
    'optimizer': ['', 'rmsprop', 'sg', 'muon'],
    'momentum': [*NUMBERS, '1', '1.5'],
    'weight_decay': NUMBERS,
    'lr_schedule': ['', 'linear', 'cos'],
    'label_smoothing': [*NUMBERS, '1.5'],
    'augment': ['', 'affine'],
    'ema': [*NUMBERS, '1', '2'],
    'device': ['', 'tpu', 'gpu'],
    'precision': ['', 'int8', '16'],
}
BAD_MLP = {'dnn_hidden_units': ['0', '-5', '1.5', '10,', ',', '10,,10', '10 10', 'abc', 'nan', '[100]', '9' * 5000]}
BAD_OF = {
    'train_mlp_numpy': BAD | BAD_MLP | {'dtype': ['', 'float16', 'float', 'FLOAT32']},
    'train_mlp_pytorch': BAD | BAD_TORCH | BAD_MLP | {
        'batch_norm': ['', 'batch', 'None'], 'dropout': [*NUMBERS, '1.5'], 'activation': ['', 'swish'],
        'init': ['', 'he'],
    },
    'train_convnet_pytorch': BAD | BAD_TORCH | {'cutout': [*WHOLE, '33']},
}  # fmt: skip
CONTRADICTIONS = [
    ('--momentum', '--momentum 0.9 --optimizer adam'),
    ('--momentum', '--momentum 0.9 --optimizer adamw'),
]


@pytest.mark.parametrize(
    ('script', 'flag', 'values'), [(s, flag, values) for s in SCRIPTS for flag, values in BAD_OF[s].items()]
)
def test_a_bad_value_is_one_line_with_the_flag(capsys, script, flag, values):
    for value in values:
        status, line = failing_run(capsys, script, f'--{flag}={value}')
        assert status == 2 and f'--{flag}' in line, value


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize(
    'argument',
    ['--learningrate=1', '--lr=1', '--learning-rate=1', '--learn=1', '--max=5', '--seeds=1', '--Seed=1', '--quie', '-q',
     '--größe=1', '100', 'résumé', '--params'],
)  # fmt: skip
def test_an_unknown_or_shortened_flag_is_refused_by_name(capsys, script, argument):
    status, line = failing_run(capsys, script, argument)
    assert status == 2 and argument in line


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_flag_without_its_value(capsys, script):
    flags = {n for n, value in vars(parse(script)).items() if not isinstance(value, bool)}
    for flag in flags - {'augment'}:  # alone, it means crop
        status, line = failing_run(capsys, script, f'--{flag}')
        assert status == 2 and f'--{flag}' in line


def a_process_of_two(monkeypatch, rank):
    """Tells this process that it is one of two; returns the list of its waits, which take no time."""
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setenv('RANK', rank)
    waits = []
    monkeypatch.setattr(training.processes.time, 'sleep', waits.append)
    return waits


@pytest.mark.parametrize('rank', ['0', '1'])
def test_of_processes_that_train_together_the_first_refuses_a_flag_for_all(monkeypatch, capsys, rank):
    """torchrun ends the first, before it has spoken, if the second does not wait."""
    waits = a_process_of_two(monkeypatch, rank)
    with pytest.raises(SystemExit) as exit:
        parse('train_mlp_pytorch', '--learning_rate', 'abc')
    first = rank == '0'
    assert exit.value.code == 2 and capsys.readouterr().err.count('\n') == first
    assert waits == ([] if first else [training.processes.PATIENCE])


@pytest.mark.parametrize('rank', ['0', '1'])
def test_a_process_that_lacks_what_the_first_has_says_so_in_the_end(monkeypatch, capsys, data_dir, tmp_path, rank):
    waits = a_process_of_two(monkeypatch, rank)
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path / 'run', '--device', 'cuda')
    assert status == 2 and '--device cuda' in line
    assert waits == ([] if rank == '0' else [training.processes.PATIENCE])


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_switch_takes_no_value(capsys, script):
    for flag in [name for name, value in vars(parse(script)).items() if isinstance(value, bool)]:
        status, line = failing_run(capsys, script, f'--{flag}=yes')
        assert status == 2 and f'--{flag}' in line


@pytest.mark.parametrize('script', TORCH_SCRIPTS)
@pytest.mark.parametrize(('flag', 'args'), CONTRADICTIONS)
def test_contradictory_flags(capsys, script, flag, args):
    status, line = failing_run(capsys, script, *args.split())
    assert status == 2 and flag in line


@pytest.mark.parametrize(
    ('flag', 'args'),
    [
        ('--batch_norm', '--batch_norm torch --dnn_hidden_units='),
        ('--dropout', '--dropout 0.5 --dnn_hidden_units='),
        ('--activation', '--activation elu --dnn_hidden_units='),
    ],
)
def test_flags_that_contradict_each_other_in_an_mlp(capsys, flag, args):
    status, line = failing_run(capsys, 'train_mlp_pytorch', *args.split())
    assert status == 2 and flag in line


def test_cutout_without_augmentation(capsys):
    status, line = failing_run(capsys, 'train_convnet_pytorch', '--cutout', '4')
    assert status == 2 and '--cutout' in line and '--augment' in line


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('args', ['--epochs 1 --max_steps 10', '--max_steps 10 --epochs 1'])
def test_epochs_contradict_max_steps(capsys, script, args):
    status, line = failing_run(capsys, script, *args.split())
    assert status == 2 and '--epochs' in line and '--max_steps' in line


@pytest.mark.parametrize('script', SCRIPTS)
def test_resume_contradicts_overwrite(capsys, script):
    status, line = failing_run(capsys, script, '--resume', '--overwrite')
    assert status == 2 and '--resume' in line and '--overwrite' in line


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize(
    ('flag', 'args'),
    [
        ('--batch_size', '--batch_size 201'),
        ('--validation_size', '--batch_size 190 --validation_size 20'),
        ('--validation_size', '--validation_size 200 --batch_size 1'),
        ('--validation_size', '--validation_size 60000 --batch_size 1'),
    ],
)
def test_sizes_beyond_the_data(quick, capsys, data_dir, tmp_path, script, flag, args):
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run', *args.split())
    assert status == 2 and flag in line
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('batch_norm', ['torch', 'autograd', 'manual'])
def test_batch_norm_of_one_example(quick, capsys, data_dir, tmp_path, batch_norm):
    args = ['--batch_norm', batch_norm, '--batch_size', '1']
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path / 'run', *args)
    assert status == 2 and '--batch_norm' in line and '--batch_size' in line


@pytest.mark.parametrize('batch_norm', ['autograd', 'manual'])
def test_batch_norm_that_evaluates_one_example(quick, capsys, data_dir, tmp_path, batch_norm):
    args = ['--batch_norm', batch_norm, '--validation_size', '1']
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path / 'run', *args)
    assert status == 2 and '--batch_norm' in line and '--validation_size' in line


@pytest.mark.parametrize('script', TORCH_SCRIPTS)
def test_a_device_that_is_not_there(capsys, script):
    status, line = failing_run(capsys, script, '--device', 'cuda')
    assert status == 2 and '--device' in line


# Wrong data


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('damage', ['missing file', 'truncated file', 'another folder', 'a file', 'a name too long'])
def test_bad_data_is_one_line_with_the_file(quick, capsys, tmp_path, script, damage):
    folder = tmp_path / 'data'
    batches.write_folder(folder)
    named = folder / 'data_batch_3'
    if damage == 'missing file':
        named.unlink()
    elif damage == 'truncated file':
        named.write_bytes(named.read_bytes()[:1000])
    else:
        folder = named = {
            'another folder': tmp_path,
            'a file': tmp_path / 'data' / 'test_batch',
            'a name too long': tmp_path / ('x' * 300),
        }[damage]
    status, line = failing_short_run(capsys, script, folder, tmp_path / 'run', '--batch_size', 5)
    assert status == 1 and str(named) in line
    assert not (tmp_path / 'run').exists()


# As processes of their own


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_lists_every_flag(capsys, script):
    with pytest.raises(SystemExit, match='0'):
        parse(script, '--help')
    out, err = capsys.readouterr()
    assert err == '' and 'None' not in out
    for flag in vars(parse(script)):
        assert re.search(rf'^  --{flag}\b', out, re.MULTILINE)


def test_a_run_and_its_errors_as_a_user_meets_them(data_dir, tmp_path):
    args = [*SHORT['train_mlp_numpy'].split(), '--data_dir', data_dir]
    result = process('train_mlp_numpy', *args, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, '')
    for name in ('config.json', 'history.csv', 'summary.json', 'curves.pdf', 'curves.png', 'checkpoint.npz'):
        assert (tmp_path / 'runs' / 'mlp_numpy' / name).stat().st_size > 0

    for status, word, more in [
        (2, '--overwrite', []),
        (2, '--max_step', ['--max_step', '5']),
        (1, '--data_dir', ['--data_dir', tmp_path, '--out_dir', 'other']),
        (1, '--learning_rate', ['--learning_rate', '1e10', '--max_steps', '100', '--out_dir', 'other', '--quiet']),
    ]:
        result = process('train_mlp_numpy', *args, *more, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (status, '')
        assert word in result.stderr and result.stderr.count('\n') == 1
        assert result.stderr.startswith('train_mlp_numpy.py: ')


def test_a_folder_whose_name_the_terminal_cannot_show(data_dir, tmp_path):
    args = [*SHORT['train_mlp_numpy'].split(), '--data_dir', data_dir, '--out_dir', tmp_path / 'Läufe-跑']
    result = process('train_mlp_numpy', *args, env={'PYTHONIOENCODING': 'ascii'})
    assert (result.returncode, result.stderr) == (0, '')
    assert (tmp_path / 'Läufe-跑' / 'summary.json').exists()


@pytest.mark.parametrize('name', ['numpy_mlp', 'batchnorm', 'convnet', 'scaling', 'back_to_back'])
def test_a_benchmark_without_a_measurement_is_refused(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--repeats', '0'])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / 'benchmarks' / f'{name}.py'), run_name='__main__')
    assert exit.value.code == 2 and '--repeats' in capsys.readouterr().err


def test_the_table_names_the_folders_that_hold_no_finished_run(quick, monkeypatch, capsys, data_dir, tmp_path):
    short_run('train_mlp_numpy', data_dir, tmp_path / 'good', '--quiet')
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'summary.json').write_text('{')
    folders = [str(tmp_path / name) for name in ('missing', 'good', 'broken')]
    monkeypatch.setattr(sys, 'argv', ['table.py', *folders])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / 'experiments' / 'table.py'), run_name='__main__')
    output = capsys.readouterr()
    assert exit.value.code == 1 and output.err.count('\n') == 1
    assert f'| {folders[1]} ' in output.out and folders[0] in output.err and folders[2] in output.err


def test_the_numpy_script_imports_no_torch(data_dir, tmp_path):
    code = (
        'import sys, train_mlp_numpy as script\n'
        f'script.train(script.parse_flags({[*SHORT["train_mlp_numpy"].split(), "--quiet"]!r}'
        f' + ["--data_dir", {str(data_dir)!r}, "--out_dir", {str(tmp_path / "run")!r}]))\n'
        'sys.exit(" ".join(name for name in sys.modules if name.partition(".")[0] in ("torch", "torchvision")))\n'
    )
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stderr.strip() == ''
    assert (tmp_path / 'run' / 'summary.json').exists()


@pytest.mark.parametrize('quiet', [False, True])
def test_a_terminal_shows_rate_and_time_left(data_dir, tmp_path, quiet):
    command = [sys.executable, ROOT / 'train_mlp_numpy.py', '--max_steps', '900', '--batch_size', '50']
    command += ['--data_dir', data_dir, '--out_dir', tmp_path / 'run', *(['--quiet'] if quiet else [])]
    _, shown = in_a_terminal(command, columns=90)
    assert bool(re.search(rb'\d\d:\d\d<\d\d:\d\d, .*images/s', shown)) != quiet
