"""The text's numbers of what goes beyond the assignment, its best networks and the ladder: {macro: TeX} each."""

import inspect
import re
import statistics

import published
import speedrun
from evidence import flags_of, percents, printed, runs, summaries
from tex import grouped, spread

from experiments import best_convnet
from experiments.muon import orthogonalised


def of_best_mlp():
    fastest_config, fastest = published.fastest('mlp_best')
    flags, (unaugmented,) = flags_of('mlp_best'), summaries('mlp_best_unaugmented')
    return {
        'bestAccuracy': spread(percents('mlp_best', 'test_accuracy'), 2),
        'bestSeeds': str(len(runs('mlp_best'))),
        'bestHidden': ', '.join(map(str, flags['dnn_hidden_units'])),
        'bestEps': f'{flags["whiten"]:g}',
        'bestPenalty': str(flags['l1_penalty']),
        'bestThreshold': str(flags['prune_below']),
        'bestUnaugmented': f'{100 * unaugmented["test_accuracy"]:.1f}',
        'bestUnaugmentedTrain': f'{100 * unaugmented["train_accuracy"]:.1f}',
        'bestZeros': f'{statistics.mean(percents("mlp_best", "zero_weights")):.0f}',
        'bestEpochs': str(flags['epochs']),
        'bestMinutes': f'{fastest["seconds"] / 60:.0f}',
        'bestHardware': published.hardware(fastest_config),
    }


def of_ingredients():
    """What the ladder's rows tell of the best MLP's ingredients."""
    return {
        'penaltyZeros': f'{statistics.mean(percents("ladder/combined_l1_penalty", "zero_weights")):.2g}',
        'prunedZeros': f'{statistics.mean(percents("ladder/combined_pruned", "zero_weights")):.2g}',
        'whitenedEps': f'{flags_of("ladder/combined_whitened")["whiten"]:g}',
    }


def of_ladder():
    return {
        'ladderSeeds': str(len(runs('ladder/default'))),
        'stepsSeeds': str(len(runs('ladder/combined_together'))),
        'ladderHeld': grouped(flags_of('ladder/default')['validation_size']),
    }


def of_best_convnet():
    config, summary, history = runs('convnet_best')[0]
    fastest_config, fastest = published.fastest('convnet_best')
    flags, pflop = config['flags'], published.pflop(config, summary, history)
    (_, large, update), (_, small, _) = (published.flops(None, True, side=s) for s in (32, best_convnet.SMALL))
    updates = update * summary['step'] / 1e15
    return {
        'vggPlain': spread(percents('convnet_best', 'test_accuracy'), 2),
        'vggFlip': spread(percents('convnet_best', 'test_accuracy_flip'), 2),
        'vggViews': spread(percents('convnet_best', 'test_accuracy_tta'), 2),
        'vggSeeds': str(len(runs('convnet_best'))),
        'vggEpochs': str(flags['epochs']),
        'vggBatch': str(flags['batch_size']),
        'vggRate': str(flags['learning_rate']),
        'vggMomentum': str(best_convnet.MOMENTUM),
        'vggMixed': f'{100 * best_convnet.CUTMIX:.0f}',
        'vggClean': f'{100 * (1 - best_convnet.MIX_UNTIL):.0f}',
        'vggSmallShare': f'{100 * best_convnet.SMALL_UNTIL:.0f}',
        'vggSmallSide': str(best_convnet.SMALL),
        'vggSmallPrice': f'{100 * small / large:.0f}',
        'vggPflop': f'{pflop:.2f}',
        'vggUpdateShare': f'{100 * updates / pflop:.0f}',
        'vggMinutes': f'{fastest["seconds"] / 60:.0f}',
        'vggHardware': published.hardware(fastest_config),
        'muonSteps': str(inspect.signature(orthogonalised).parameters['steps'].default),
    }


def of_speedrun():
    """The speedrun by itself, and in turns with the ConvNet's default run on one machine."""
    found = summaries('speedrun')
    (small, epochs), *_ = speedrun.PHASES
    whole = sum(epochs for _, epochs in speedrun.PHASES)
    back_to_back = printed('benchmarks', 'back_to_back')
    seconds = {
        name: [int(re.search(r'(\d+) s ', line)[1]) for line in back_to_back if f'{name}.py ' in line]
        for name in ('speedrun', 'train_convnet_pytorch')
    }
    return {
        'speedChannels': str(max(p.shape[0] for p in speedrun.SpeedNet(10).parameters())),
        'speedPatch': str(speedrun.SpeedNet(10).whiten.weight[0].numel()),
        'speedBatch': str(flags_of('speedrun')['batch_size']),
        'speedSmallSide': str(small),
        'speedSmallShare': f'{100 * epochs / whole:.0f}',
        'speedHard': f'{100 * speedrun.HARD_SHARE:.0f}',
        'speedViews': spread(percents('speedrun', 'test_accuracy_tta'), 2),
        'speedPlain': spread(percents('speedrun', 'test_accuracy'), 2),
        'speedSeeds': str(len(found)),
        'speedPflop': f'{statistics.mean(s["pflop"] for s in found):.2f}',
        'speedSeconds': f'{min(s["seconds"] for s in found):.0f}',
        'speedRatio': re.search(r': ([\d.]+) times', back_to_back[-1])[1],
        'speedPairs': str(len(seconds['speedrun'])),
        'speedTogether': f'{statistics.median(seconds["speedrun"]):.0f}',
        'convTogether': f'{statistics.median(seconds["train_convnet_pytorch"]):.0f}',
        'speedShare': f'{statistics.mean(published.speedrun_rates()[1]):.0f}',
    }
