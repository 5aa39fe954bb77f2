"""Turn results/ into RESULTS.md, the tables of README and docs/, and their pictures: python experiments/results.py

A row of a table is the NAME of published runs: mean and standard deviation over its seeds of the accuracy at the last
step, and the shortest wall time, the one that other work on the machine disturbed least, with its hardware.
"""

import argparse
import statistics
import textwrap

import numpy as np
from pictures import default_runs_figure, flops_figure
from published import (
    PRINTED,
    ROOT,
    fastest,
    hardware,
    machine,
    names,
    percent,
    percent_mean,
    pflop,
    runs,
    shared_command,
    speedrun_rates,
)
from rows import LADDER, NETWORKS, STEPS
from table import mean_and_deviation, table

COSTS = ['PFLOP', 'seconds, fastest seed', 'hardware', 'command']
HEADER = ['network', 'test accuracy %', 'with mirror image %', 'over six views %', 'seeds', *COSTS]


def costs(name):
    """The cells below COSTS."""
    config, summary = fastest(name)
    return [
        f'{statistics.mean(pflop(*run) for run in runs(name)):.2g}',
        np.format_float_positional(summary['seconds'], 3, fractional=False, trim='-'),
        machine(config),
        f'`{shared_command(config)}`',
    ]


def row(name):
    _, summaries, _ = zip(*runs(name), strict=True)
    return [
        NETWORKS[name].title,
        percent(summaries, 'test_accuracy'),
        percent(summaries, 'test_accuracy_flip'),
        percent(summaries, 'test_accuracy_tta'),
        f'{len(summaries)}',
        *costs(name),
    ]


def ladder(rows, step_by_step=False):
    """Those of the rows that results/ holds: accuracy on the validation split, and the gain over the default.

    With `step_by_step`, the gain is that over the row above.
    """
    header = ['modification', 'validation accuracy %', 'gain', 'seeds', 'why', 'what came of it', *COSTS]
    lines, base = [], percent_mean('ladder/default', 'validation_accuracy')
    for name in filter(runs, rows):
        _, summaries, _ = zip(*runs(name), strict=True)
        mean = percent_mean(name, 'validation_accuracy')
        gain = f'{mean - base:+.1f}' if mean != base else ''
        base = mean if step_by_step else base
        about, accuracy = rows[name], percent(summaries, 'validation_accuracy')
        lines.append([about.title, accuracy, gain, f'{len(summaries)}', about.why, about.kept, *costs(name)])
    return table([header, *lines])


def filled(text, block, content):
    """The text with new content between the two comments that mark a block."""
    start, end = f'<!-- {block}: written by experiments/results.py -->\n', f'<!-- end of {block} -->\n'
    before, _, rest = text.partition(start)
    return before + start + content + end + rest.partition(end)[2]


def precisions():
    """A sentence: the ConvNet in bf16 and in float32, at the last step of the float32 runs."""
    step = runs('convnet_pytorch_fp32')[0][1]['step']
    found = []
    for name in ('convnet_pytorch', 'convnet_pytorch_fp32'):
        rows = [next(r for r in history if r['step'] == step) for _, _, history in runs(name)]
        found.append(f'{mean_and_deviation([100 * r["test_accuracy"] for r in rows], 2)} % ({len(rows)} seeds)')
    return f'The ConvNet at step {step}: test accuracy {found[0]} in bf16, {found[1]} in float32.\n'


def outputs(folder):
    """What the programs of this folder printed, each below its command, to be unfolded; of a long table the end."""
    found = ''
    for name, command in PRINTED[folder].items():
        output = (ROOT / 'results' / folder / f'{name}.txt').read_text(encoding='utf-8')
        if output.count('\n') > 60:
            output = output.splitlines(keepends=True)[-1]
        found += f'<details><summary><code>{command}</code></summary>\n\n```\n{output}```\n\n</details>\n'
    return found


def duration(seconds):
    """In the unit that says most."""
    return f'{seconds:.0f} s' if seconds < 100 else f'{seconds / 60:.0f} min'


def front_row(name):
    """A row of the README's table."""
    (_, summaries, _), (config, quickest) = zip(*runs(name), strict=True), fastest(name)
    title, _, question = NETWORKS[name].title.partition(' (')
    accuracy, command = percent(summaries, 'test_accuracy'), f'`{shared_command(config)}`'
    return [title, question.rstrip(')'), accuracy, duration(quickest['seconds']), command]


def front():
    """The README's table, and what its figures mean."""
    rows = [['network', 'question', 'test accuracy %', 'time', 'command'], *map(front_row, names())]
    machines = {name: hardware(fastest(name)[0]) for name in names()}
    most = statistics.mode(machines.values())
    others = ''.join(f'; {NETWORKS[name].title.split(" (")[0]}: {it}' for name, it in machines.items() if it != most)
    seeds = [len(runs(name)) for name in names()]
    views = [percent([run[1] for run in runs(name)], 'test_accuracy_tta') for name in ('convnet_best', 'speedrun')]
    text = (
        f'Accuracy: last step, mean and standard deviation over {min(seeds)} to {max(seeds)} seeds. Time: fastest '
        f'seed, {most}{others}. With logits averaged over six views of each image: {views[0]} % (best ConvNet), '
        f'{views[1]} % (speedrun, whose length is what 94 % takes).'
    )
    return f'{table(rows)}\n\n{textwrap.fill(text, 120)}\n'


def demo():
    """How `make demo` ends."""
    return f'```\n{(ROOT / "results" / "demo.txt").read_text(encoding="utf-8")}```\n'


BLOCKS = {
    'README.md': {'demo': demo, 'results': front},
    'docs/benchmarks.md': {'benchmarks': lambda: outputs('benchmarks'), 'precisions': precisions},
    'docs/reliability.md': {'checks': lambda: outputs('checks')},
}


def page(name):
    """The text of a page with what results/ hold in its blocks."""
    text = (ROOT / name).read_text(encoding='utf-8')
    for block, content in BLOCKS[name].items():
        text = filled(text, block, content())
    return text


RESULTS = """# Results

Written by `python experiments/results.py` from [results/](results), which holds the configuration, history and summary
of every run; `python experiments/ladder.py` does the runs. Each figure is that of the last step, mean and standard
deviation over the seeds; what was chosen was chosen on 5,000 of the training images, kept apart (the reflected crops of
the best ConvNet and the end of its mixing: on 10,000), and then trained on all 50,000, but for the speedrun's length:
what it takes to reach 94 % of the test set over six views. PFLOP are 10^15 floating point operations of a whole run,
evaluations included, in matrix products and convolutions. Seconds are the shortest of the seeds, evaluations and plots
included, on the hardware beside them; other seeds of a row may have run on other machines. The accuracy with the mirror
image or over six views is that of logits averaged over so many views of each test image; it stands beside the plain
one, never in its place.

## The networks

{networks}

![Test accuracy against the operations of the training so far](docs/flops.png)

![Accuracy of the three default runs against the training step](docs/results.png)

{ceiling}
## The ladder of modifications (question 2)

One modification of the default MLP at a time, at its 1500 steps, with a learning rate chosen for it; the default's is
the assignment's. The accuracy is that on the 5,000 images kept apart.

{ladder}

Then added up: each row has the flags of those above it, its own added or in their place, and its gain over the row
above; that of the first is over the default.

{steps}
"""


def ceiling():
    """A sentence: how close the speedrun comes to the machine's own matrix products."""
    rates, shares = speedrun_rates()
    return (
        f'The speedrun, from reading the data to the last figure, computes at {mean_and_deviation(rates, 0)} GFLOP/s, '
        f'{mean_and_deviation(shares, 0)} % of the rate of a 2048 x 2048 matrix product on the same machine, measured '
        f'beside each run ({len(rates)} seeds).\n'
    )


def results_page():
    """The text of RESULTS.md."""
    networks = table([HEADER, *map(row, names())])
    return RESULTS.format(networks=networks, ceiling=ceiling(), ladder=ladder(LADDER), steps=ladder(STEPS, True))


def main():
    argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0]).parse_args()
    for name in BLOCKS:
        (ROOT / name).write_text(page(name), encoding='utf-8')
    (ROOT / 'RESULTS.md').write_text(results_page(), encoding='utf-8')
    default_runs_figure((9, 2.8)).savefig(ROOT / 'docs' / 'results.png', dpi=120)
    title = 'CIFAR-10: what each network reaches, and what its training costs'
    flops_figure((8, 4), title).savefig(ROOT / 'docs' / 'flops.png', dpi=120)


if __name__ == '__main__':
    main()
