"""The pictures of the published runs, in one style."""

from matplotlib.figure import Figure
from published import names, pflop, runs
from rows import COLORS, NETWORKS, TRAINING_COLOR


def flops_figure(size, title=''):
    """The test accuracy of each network on its way, against the operations so far: a line and a point a seed."""
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots()
    for name, marker in zip(names(), 'osDv^P*X', strict=False):
        color = COLORS[name]
        for run in runs(name):
            _, summary, history = run
            spent = [pflop(*run, row['step']) for row in history]
            axes.semilogx(spent, [100 * row['test_accuracy'] for row in history], color=color, lw=0.7, alpha=0.5)
            axes.semilogx(spent[-1], 100 * summary['test_accuracy'], marker, color=color, ms=5, alpha=0.8)
        axes.plot([], [], marker, color=color, label=NETWORKS[name].title)
    axes.plot([], [], color='0.5', lw=0.7, label='a seed on its way')
    axes.set(xlabel='operations so far [PFLOP, 10$^{15}$]', ylabel='test accuracy [%]', title=title)
    return _finished(figure, 'upper left')


def default_runs_figure(size):
    """Training and test accuracy of the three default runs against the step, a thin line a seed."""
    shown = [name for name in ('mlp_numpy', 'mlp_pytorch', 'convnet_pytorch') if runs(name)]
    figure = Figure(figsize=size, layout='constrained')
    for axes, name in zip(figure.subplots(1, len(shown), sharey=True), shown, strict=True):
        for _, _, history in runs(name):
            steps = [r['step'] for r in history]
            axes.plot(steps, [100 * r['test_accuracy'] for r in history], color=COLORS[name], lw=1)
            axes.plot(steps, [100 * r['train_accuracy'] for r in history], color=TRAINING_COLOR, lw=1, zorder=0)
        axes.set(title=NETWORKS[name].title, xlabel='step', xlim=(0, None), ylim=(0, 100))
        axes.plot([], color=COLORS[name], label='test')
        axes.plot([], color=TRAINING_COLOR, label='training batches')
    figure.axes[0].set_ylabel('accuracy on CIFAR-10 [%]')
    return _finished(figure, 'lower right')


def _finished(figure, legend):
    """The figure in the one style of all pictures in docs/."""
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False, loc=legend)
    return figure
