"""Turn results/ into the figures, tables and numbers that report.tex reads: python report/build.py

All of it goes to report/generated/: figures as NAME.pdf, tables as NAME.tex, and numbers.tex, a TeX macro for each
number in the text. Equal inputs give equal bytes. What does not come from a run is counted or checked here, by code.
"""

import argparse
import sys
from pathlib import Path

from matplotlib import rc_context

REPORT = Path(__file__).resolve().parent
sys.path[:0] = [str(REPORT.parent / folder) for folder in ('', 'experiments', 'benchmarks', 'docs')]

import assignment_numbers  # noqa: E402
import check_numbers  # noqa: E402
import figures  # noqa: E402
import record_numbers  # noqa: E402
import tabulars  # noqa: E402
from costs import convnet_layers, step_cost  # noqa: E402
from evidence import MissingResult, flags_of  # noqa: E402
from pictures import flops_figure  # noqa: E402
from tex import newcommands  # noqa: E402


def write_figures(folder):
    with rc_context(figures.STYLE):
        drawn = {
            'curves_mlp_numpy': figures.curves('mlp_numpy'),
            'curves_mlp_best': figures.curves('mlp_best'),
            'curves_convnet_pytorch': figures.curves('convnet_pytorch'),
            'curves_convnet_best': figures.curves('convnet_best'),
            'twins': figures.twins(),
            'confusion': figures.confusion_matrix('convnet_pytorch'),
            'layers': figures.layers(),
            'networks': flops_figure((3.3, 2.4)),
        }
        undated = {'Creator': None, 'Producer': None, 'CreationDate': None}
        for name, figure in drawn.items():
            figure.savefig(folder / f'{name}.pdf', metadata=undated)


def numbers(cost, layers):
    """The numbers in the text: {macro: TeX}."""
    return (
        assignment_numbers.of_defaults()
        | assignment_numbers.of_step(cost)
        | assignment_numbers.of_ceilings()
        | assignment_numbers.of_twins()
        | assignment_numbers.of_convnet(layers)
        | record_numbers.of_best_mlp()
        | record_numbers.of_ingredients()
        | record_numbers.of_best_convnet()
        | assignment_numbers.of_confusions()
        | record_numbers.of_speedrun()
        | check_numbers.of_mistakes()
        | record_numbers.of_ladder()
        | check_numbers.of_equations()
        | assignment_numbers.of_memory()
        | check_numbers.of_errata()
    )


def write_tables_and_numbers(folder):
    flags = flags_of('mlp_numpy')
    hidden, batch_size = flags['dnn_hidden_units'], flags['batch_size']
    cost, layers = step_cost(hidden, batch_size), convnet_layers()
    written = {
        'glance': tabulars.glance_table(),
        'runs': tabulars.runs_table(),
        'cost': tabulars.cost_table(cost),
        'memory': tabulars.memory_table(batch_size, hidden[0]),
        'times': tabulars.times_table(),
        'ladder': tabulars.ladder_table(),
        'steps': tabulars.steps_table(),
        'convnet': tabulars.convnet_table(layers),
        'numbers': newcommands(numbers(cost, layers)),
    }
    for name, tex in written.items():
        (folder / f'{name}.tex').write_text(tex, encoding='utf-8')


def build(folder):
    """Writes everything to `folder`.

    Raises:
        MissingResult: if a run that the report shows is not in results/.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_figures(folder)
    write_tables_and_numbers(folder)


def main():
    argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0]).parse_args()
    try:
        build(REPORT / 'generated')
    except MissingResult as error:
        sys.exit(f'build.py: {error}')


if __name__ == '__main__':
    main()
