"""Update rules, learning-rate schedules, and the moving average of the weights."""

import inspect

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.errors import UsageError

OPTIMIZERS = {  # by the values of --optimizer
    'sgd': torch.optim.SGD,
    'adam': torch.optim.Adam,
    'adamw': torch.optim.AdamW,
}


def show_filters_contiguous(optimizer):
    """Lets each step of the optimiser see the filters as (n_out, H, W, n_in): contiguous where they lie channels last.

    A fused optimiser of torch reads memory in its order, whatever the shape, but on a CPU first makes a copy of every
    gradient that is not contiguous, which takes longer than the update itself.
    """

    def permute_filters(*order):
        def hook(optimizer, *_):
            for group in optimizer.param_groups:
                for w in group['params']:
                    if w.ndim == 4 and w.grad is not None:
                        w.data, w.grad.data = w.data.permute(order), w.grad.data.permute(order)

        return hook

    optimizer.register_step_pre_hook(permute_filters(0, 2, 3, 1))
    optimizer.register_step_post_hook(permute_filters(0, 3, 1, 2))


def make_optimizer(flags, model):
    """The optimiser that the flags ask for; fused into one pass over the parameters where torch can.

    Raises:
        UsageError: if it has no weight decay, and the flags ask for some.
    """
    rule = OPTIMIZERS[flags.optimizer]
    known = inspect.signature(rule).parameters
    options = {'lr': flags.learning_rate}
    if 'weight_decay' in known:
        options['weight_decay'] = flags.weight_decay
    elif flags.weight_decay:
        raise UsageError(f'--optimizer {flags.optimizer} has no --weight_decay')
    if flags.momentum:
        options['momentum'] = flags.momentum
    device = next(model.parameters()).device.type
    if device in ('cpu', 'cuda') and 'fused' in known:
        options['fused'] = True
    optimizer = rule(model.parameters(), **options)
    if device == 'cpu' and 'fused' in known and not optimizer.state:  # what has a state, made it in the filters' shape
        show_filters_contiguous(optimizer)
    return optimizer


def make_scheduler(flags, optimizer, max_steps):
    """The learning rate of each step: constant, half a cosine down to 0, or one cycle up to learning_rate and down."""
    schedules = torch.optim.lr_scheduler
    if flags.lr_schedule == 'cosine':
        return schedules.CosineAnnealingLR(optimizer, max_steps)
    if flags.lr_schedule == 'onecycle':
        rates = [group['lr'] for group in optimizer.param_groups]
        return schedules.OneCycleLR(optimizer, rates, max_steps, cycle_momentum=False)
    return schedules.ConstantLR(optimizer, factor=1)


def make_ema(decay, model):
    """A moving average of the weights and buffers of the model, or None for a decay of 0."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
