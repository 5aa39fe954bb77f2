"""Curves say what they show, are readable, and are drawn while a run lasts."""

from types import SimpleNamespace

from conftest import failing_short_run

from training.plots import Curves, draw_curves


def rows(**last):
    """A history of two evaluations, the last as given."""
    first = {'step': 10, 'train_loss': 2.3, 'train_accuracy': 0.1, 'test_loss': 2.2, 'test_accuracy': 0.15}
    return [first, first | {'step': 20} | last]


def test_curves_say_which_run_they_show_and_what_their_lines_are():
    figure = draw_curves.__wrapped__(rows(), r'runs/$x: cifar10, seed 1')['curves']
    assert figure.get_suptitle() == r'runs/$x: cifar10, seed 1'
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        'training: mean over the batches since the last point',
        'test set',
    ]
    losses, accuracies = figure.axes
    assert [line.get_ydata().tolist() for line in accuracies.lines] == [[10, 10], [15, 15]]
    assert accuracies.get_ylim() == (0, 100) and losses.get_ylim()[0] == 0 and losses.get_ylim()[1] > 2.3


def test_a_start_far_off_does_not_flatten_the_rest_of_the_curves():
    history = [
        {'step': 5} | dict.fromkeys(('train_loss', 'test_loss', 'train_accuracy', 'test_accuracy'), 900),
        *rows(),
    ]
    losses, _ = draw_curves.__wrapped__(history)['curves'].axes
    assert 2.3 < losses.get_ylim()[1] < 10


def test_curves_are_drawn_while_a_run_lasts_but_not_all_the_time(monkeypatch, tmp_path):
    clock, drawn = [0.0], []
    monkeypatch.setattr('training.plots.time', SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr('training.plots.draw_curves', lambda path, *args: drawn.append(clock[0]) or clock[0] < 70)
    curves = Curves(tmp_path, SimpleNamespace(dataset='cifar10', seed=1))
    for clock[0] in range(5, 200, 5):
        curves.update(rows())
    assert drawn == [30, 60, 90]  # it failed at 90: one warning is enough


def test_a_run_that_is_cut_off_has_its_curves(quick, data_dir, tmp_path, monkeypatch, capsys):
    """By whatever ends it: here a loss that is not finite, after the first evaluations."""
    shown = []
    monkeypatch.setattr('training.plots.draw_curves', lambda path, history, title: shown.append(len(history)) or True)
    monkeypatch.setattr('training.plots.Curves.EVERY', 0)
    rate = ['--learning_rate', '1e10', '--max_steps', '40', '--eval_freq', '1']
    failing_short_run(capsys, 'train_mlp_numpy', data_dir, tmp_path, *rate)
    assert shown == [1] and not (tmp_path / 'summary.json').exists()
