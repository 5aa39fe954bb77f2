"""What both PyTorch training scripts share: flags, device, precision, processes, augmentation, evaluation, checkpoints.

Several processes (`torchrun --nproc_per_node N train_*.py ...`) draw the same global batch order and each takes every
N-th row of it, so that an epoch sees each example once and the averaged gradients are those of the whole batch.
"""

import contextlib
import ctypes
import io
import math
import os
import sys

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cifar10_utils import N_CLASSES
from train_utils import RunError, UsageError, checked_archive, number, previous_of, reading, write_atomically


def add_torch_flags(parser, *, optimizer, precision, augmentation):
    """Adds the flags that both PyTorch scripts have on top of the common ones."""
    fraction = number(float, 0, 1)
    add = parser.add_argument
    add('--optimizer', type=str.lower, choices=['sgd', 'adam', 'adamw', 'muon'], default=optimizer, help='update rule')
    add('--momentum', type=fraction, default=0.0, help='of SGD and Muon')
    add('--nesterov', action='store_true', help="Nesterov's form of momentum")
    decay = 'L2 penalty; decoupled in adamw, and in muon, where it spares hidden weights'
    add('--weight_decay', type=number(float, 0), default=0.0, help=decay)
    add('--lr_schedule', choices=['constant', 'cosine', 'onecycle'], default='constant', help='of the learning rate')
    add('--label_smoothing', type=fraction, default=0.0, help='share of the target spread over all classes')
    choices = ['none', 'crop', 'reflect', 'affine']
    add('--augment', nargs='?', choices=choices, const='crop', default='none', help=augmentation)
    add('--cutmix', type=fraction, default=0.0, help='share of the batches whose images get a patch of another')
    add('--mixup', type=fraction, default=0.0, help='share of the batches whose images are blended with another')
    add('--mix_until', type=fraction, default=1.0, help='share of the steps after which no images are mixed any more')
    add('--ema', type=fraction, default=0.0, help='decay of a moving average of the weights, evaluated in their place')
    add('--standardize', action='store_true', help='divide the images by the standard deviation of each channel')
    add_machine_flags(parser, precision)
    add('--tensorboard', action='store_true', help='write the history for TensorBoard too')


def add_machine_flags(parser, precision):
    """Adds the flags that a Machine is made from."""
    add = parser.add_argument
    add('--device', choices=['auto', 'cpu', 'cuda', 'mps'], default='auto', help='where to compute')
    add('--precision', choices=['auto', 'fp32', 'bf16'], default=precision, help='of the matrix products')


def check_torch_flags(parser, flags):
    """Ends the program with one line if flags contradict each other."""
    if flags.momentum and flags.optimizer not in ('sgd', 'muon'):
        parser.error(f'--momentum belongs to --optimizer sgd or muon, got {flags.optimizer}, which has its own')
    if flags.nesterov and not flags.momentum:
        parser.error('--nesterov needs a --momentum above 0')
    if flags.cutmix + flags.mixup > 1:
        parser.error(f'--cutmix and --mixup are shares of all batches: {flags.cutmix} and {flags.mixup} exceed 1')
    if flags.cutmix + flags.mixup and flags.batch_size // int(os.environ.get('WORLD_SIZE', 1)) < 2:
        parser.error('--cutmix and --mixup mix the images of a batch: --batch_size must be at least 2 for each process')
    if flags.mix_until < 1 and not flags.cutmix + flags.mixup:
        parser.error(f'--mix_until {flags.mix_until} needs --cutmix or --mixup')
    for name in ('ema', 'momentum', 'dropout', 'label_smoothing'):
        if getattr(flags, name, 0) == 1:
            parser.error(f'--{name} must be below 1: at 1 nothing is ever learnt')


class Machine:
    """Where this process computes: device, precision, and its place among the processes that train together.

    Attributes:
        device: torch.device.
        precision: 'fp32' or 'bf16'.
        rank, world_size: number of this process, and of all.
    Raises:
        UsageError: if the device is not there, or batch_size is no multiple of world_size.
    """

    def __init__(self, flags):
        self.rank, self.world_size = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
        self.local_rank = int(os.environ.get('LOCAL_RANK', 0))
        self.device = self._device(flags.device)
        self.precision = self._precision(flags.precision)
        torch.backends.cudnn.allow_tf32 = self.precision != 'fp32'  # it would round float32 to 10 bits
        torch.backends.cudnn.deterministic = True  # a resumed run reaches the same bits
        if flags.batch_size % self.world_size:
            raise UsageError(f'--batch_size must be a multiple of the {self.world_size} processes: {flags.batch_size}')
        if self.world_size > 1 and not dist.is_initialized():
            dist.init_process_group('nccl' if self.device.type == 'cuda' else 'gloo')

    @property
    def compute(self):
        """What the numbers of a run depend on besides its flags."""
        return {'device': self.device.type, 'precision': self.precision, 'processes': self.world_size}

    def _device(self, name):
        found = {
            'cuda': torch.cuda.device_count() >= int(os.environ.get('LOCAL_WORLD_SIZE', 1)),  # the same answer for all
            'mps': torch.backends.mps.is_available() and self.world_size == 1,  # it cannot average over processes
            'cpu': True,
        }
        if name == 'auto':
            name = next(n for n in found if found[n])
        if not found[name]:
            raise UsageError(f'--device {name} is not to be had for each process here; auto takes what there is')
        if name != 'cuda':
            return torch.device(name)
        torch.cuda.set_device(self.local_rank)
        return torch.device('cuda', self.local_rank)

    def _precision(self, name):
        return name if name != 'auto' else 'bf16' if has_bf16(self.device) else 'fp32'

    def autocast(self):
        """Context in which matrix products are computed in this machine's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == 'bf16')

    @property
    def memory_format(self):
        """How images lie in memory: oneDNN and cuDNN convolve fastest with the channels innermost."""
        return torch.contiguous_format if self.device.type == 'mps' else torch.channels_last

    def next_batch(self, data_set, batch_size):
        """This process's rows of the next global batch, on its device: images (B, 3, 32, 32) and labels (B,)."""
        x, y = data_set.next_batch(batch_size, self.rank, self.world_size)
        return torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)

    def mean(self, *values):
        """The means of scalar tensors over the processes, as floats."""
        values = torch.stack([value.detach() for value in values])
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values.tolist()

    def check_same_step(self, step):
        """Raises RunError if another process has restored another step."""
        steps = [step] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(steps, step)
        if set(steps) != {step}:
            raise RunError('the processes have read different checkpoints: they must share the folder --out_dir')

    def parallel(self, model):
        """The model, with gradients averaged over the processes where there are several; each drops other units.

        Args:
            model: of images (B, 3, 32, 32).
        """
        if self.world_size == 1:
            return model
        torch.manual_seed(torch.initial_seed() + self.rank)
        network = nn.parallel.DistributedDataParallel(model)
        # It orders gradients anew after the first backward pass. Were that step 1, a resumed run would add them up in
        # another order there.
        model.eval()
        network(torch.zeros(2, 3, 32, 32, device=self.device)).sum().backward()
        model.train()
        model.zero_grad()
        return network

    def __str__(self):
        processes = f', {self.world_size} processes' if self.world_size > 1 else ''
        return f'{self.device.type} in {self.precision}{processes}'


def leave(status):
    """Ends this process with the exit status; one of several at once, past the end of Python's own.

    A thread of gloo that still holds the last tensor would abort an interpreter that is ending, and
    DistributedDataParallel keeps such threads alive (pytorch issue 190489). After a failure the group is not taken down
    first: nccl would wait for the other processes, which wait for this one.
    """
    if not dist.is_initialized():
        sys.exit(status)
    if status == 0:
        dist.destroy_process_group()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


def has_bf16(device):
    """Whether the hardware multiplies bfloat16 matrices in silicon: AVX512-BF16 or AMX, Ampere GPUs or newer."""
    if device.type == 'cuda':
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != 'cpu':
        return False
    return cpu_has('avx512_bf16') or cpu_has('amx_bf16')


def cpu_has(feature):
    """Whether this CPU has 'avx512_bf16', which multiplies bfloat16 vectors, or 'amx_bf16', which does tiles."""
    if hasattr(torch.cpu, 'get_capabilities'):
        return bool(torch.cpu.get_capabilities().get(feature))
    # torch before 2.11
    return {'avx512_bf16': torch.cpu._is_avx512_bf16_supported, 'amx_bf16': torch.cpu._is_amx_tile_supported}[feature]()


def reuse_freed_memory():
    """Makes glibc keep what is freed for the next step: asking for each large tensor anew costs a CPU up to 15 %."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt:
        M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def orthogonalised(gradient, steps=3):
    """A matrix with the singular vectors of `gradient` (m, n), and singular values nearer to 1.

    Three steps carry values from about 0.02 of the norm up to between 0.68 and 1.21, and multiply smaller ones by up
    to a^3 = 41.

    Newton-Schulz, for m <= n: X <- a X + b (X X^T) X + c (X X^T)^2 X. Every iterate is Q X_0 with Q a polynomial in
    A = X_0 X_0^T, so that the iteration can run on m x m matrices: P = a I + b A + c A^2, Q <- P Q, A <- P A P.
    The coefficients are Keller Jordan's (Muon, 2024).
    """
    if len(gradient) > gradient.shape[1]:
        return orthogonalised(gradient.T, steps).T
    a, b, c = 3.4445, -4.7750, 2.0315
    X = gradient / (gradient.norm() + 1e-12)
    A = X @ X.T
    Q = eye = torch.eye(len(X), dtype=X.dtype, device=X.device)
    for step in range(steps):
        P = a * eye + b * A + c * A @ A
        Q = P @ Q if step else P
        if step < steps - 1:
            A = P @ A @ P
    return Q @ X


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised, for weights that are kept at the norm sqrt(n_out); AdamW for the rest.

        m <- momentum m + g;    u = m, or g + momentum m in Nesterov's form
        w <- sqrt(n_out) w / |w| - lr orthogonalised(u)

    Filters count as matrices (n_out, the rest). What is no matrix, or would be held back by a norm, belongs in a group
    with orthogonal=False: it moves by AdamW, to which weight_decay belongs.

    Source: Keller Jordan, Muon, 2024, https://kellerjordan.github.io/posts/muon.
    """

    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0, orthogonal=True):
        options = {'momentum': momentum, 'nesterov': nesterov, 'weight_decay': weight_decay, 'orthogonal': orthogonal}
        super().__init__(params, {'lr': lr} | options)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            move = self._move_orthogonally if group['orthogonal'] else self._move_by_adamw
            for w in group['params']:
                if w.grad is not None:
                    move(w, w.grad, self.state[w], group)

    @staticmethod
    def _move_orthogonally(w, g, state, group):
        m = state['momentum'] = g + group['momentum'] * state.get('momentum', 0)
        u = g + group['momentum'] * m if group['nesterov'] else m
        w.mul_(math.sqrt(len(w)) / w.norm())
        w.sub_(orthogonalised(u.flatten(1)).view_as(w), alpha=group['lr'])

    @staticmethod
    def _move_by_adamw(w, g, state, group, betas=(0.9, 0.999), eps=1e-8):
        step = state['step'] = state.get('step', 0) + 1
        m = state['mean'] = (1 - betas[0]) * g + betas[0] * state.get('mean', 0)
        v = state['square'] = (1 - betas[1]) * g * g + betas[1] * state.get('square', 0)
        w.mul_(1 - group['lr'] * group['weight_decay'])
        w.addcdiv_(m / (1 - betas[0] ** step), (v / (1 - betas[1] ** step)).sqrt() + eps, value=-group['lr'])


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

    Muon moves the weights of all layers but the last, and AdamW the rest at 1/50 of the learning rate.
    """
    if flags.optimizer == 'muon':
        *hidden, _ = (p for p in model.parameters() if p.ndim > 1)
        rest = [p for p in model.parameters() if all(p is not w for w in hidden)]
        options = {name: getattr(flags, name) for name in ('momentum', 'nesterov', 'weight_decay')}
        groups = [{'params': hidden}, {'params': rest, 'orthogonal': False, 'lr': flags.learning_rate / 50}]
        return Muon(groups, flags.learning_rate, **options)
    device = next(model.parameters()).device.type
    fused = device in ('cpu', 'cuda') or None
    options = {'lr': flags.learning_rate, 'weight_decay': flags.weight_decay, 'fused': fused}
    if flags.optimizer == 'sgd':
        options |= {'momentum': flags.momentum, 'nesterov': flags.nesterov}
    rules = {'sgd': torch.optim.SGD, 'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}
    optimizer = rules[flags.optimizer](model.parameters(), **options)
    if device == 'cpu':
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


def make_ema(flags, model):
    """A moving average of the weights and buffers of the model, or None if the flags ask for none."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(flags.ema), use_buffers=True) if flags.ema else None


def make_writer(flags, run):
    """A TensorBoard writer in the run folder, or None if the flags ask for none."""
    if not flags.tensorboard or not run.record or run.finished:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(run.path / 'tensorboard', purge_step=run.step + 1)


def make_mixing(flags):
    """What mixes each image of a batch with its neighbour, and their targets alike, or None if the flags ask for none.

        x_i <- (1 - M) x_i + M x_(i-1);    t_i <- (1 - mean(M)) t_i + mean(M) t_(i-1)

    CutMix: M (H, W) is 1 in a box and 0 around it. MixUp: M is one number, uniform in [0, 1]. One M for a batch.
    Takes (x, y), y (B,); a batch that is left alone keeps its y, of a mixed one it is (B, 10).

    Sources: Yun et al., CutMix, 2019; Zhang et al., mixup, 2018.
    """
    if not flags.cutmix + flags.mixup:
        return None
    from torchvision.transforms import v2

    kinds = [v2.CutMix(num_classes=N_CLASSES), v2.MixUp(num_classes=N_CLASSES), v2.Identity()]
    return v2.RandomChoice(kinds, [flags.cutmix, flags.mixup, 1 - (flags.cutmix + flags.mixup)])


def accuracy(predictions, targets):
    """Fraction of rows of predictions (B, C) whose largest entry is at the target, as a scalar tensor.

    Targets are classes (B,), or shares of all classes (B, C), of which the largest counts.
    """
    classes = targets.argmax(1) if targets.ndim == 2 else targets
    return (predictions.argmax(1) == classes).float().mean()


def augment(x, generator, machine, kind='crop', padding=4, deform=0.2, cutout=0):
    """Flips images with probability 1/2, shifts each by up to `padding` pixels, blanks a square of side `cutout` in it.

    With kind 'reflect' an image goes on beyond its border as its own reflection; with the others it is blank there.
    With kind 'affine' the shift is no whole number and each image is turned, stretched and sheared besides: what lands
    at position p relative to the centre comes from (I + E) p + t, E uniform in [-deform, deform]^(2x2).
    The random numbers are drawn for the whole global batch, so that they do not depend on the number of processes.
    Blank pixels are 0, the mean image.

    Args:
        x: (B, C, H, W), this process's rows of the global batch.
        generator: CPU torch.Generator.
        kind: 'crop', 'reflect' or 'affine'.
    Returns:
        a new tensor of x's shape.
    """
    B, _, H, W = x.shape

    def mine(numbers):
        return numbers[machine.rank :: machine.world_size].to(x.device)

    def draw(high):
        return mine(torch.randint(high, (B * machine.world_size,), generator=generator))  # (B,)

    flipped = draw(2).bool()
    if kind == 'affine':
        uniform = 2 * mine(torch.rand(B * machine.world_size, 2, 3, generator=generator)) - 1
        # affine_grid measures in half image sides
        reach = torch.tensor([[deform, deform, 2 * padding / W], [deform, deform, 2 * padding / H]], device=x.device)
        warp = torch.eye(2, 3, device=x.device) + reach * uniform  # (B, 2, 3): [I + E, t]
        x = F.grid_sample(x, F.affine_grid(warp, x.shape, align_corners=False), align_corners=False)
    else:
        top, left = draw(2 * padding + 1), draw(2 * padding + 1)
        wide = F.pad(x, [padding] * 4, mode='reflect' if kind == 'reflect' else 'constant')
        windows = wide.unfold(2, H, 1).unfold(3, W, 1)  # (B, C, 2 padding + 1, 2 padding + 1, H, W)
        x = windows[torch.arange(B, device=x.device), :, top, left]  # (B, C, H, W)
    x = torch.where(flipped[:, None, None, None], x.flip(3), x)
    if cutout:
        row, column = draw(H), draw(W)
        first = cutout // 2
        rows = torch.arange(H, device=x.device) - row[:, None] + first  # (B, H)
        columns = torch.arange(W, device=x.device) - column[:, None] + first  # (B, W)
        blank = ((rows >= 0) & (rows < cutout))[:, :, None] & ((columns >= 0) & (columns < cutout))[:, None, :]
        x = x.masked_fill(blank[:, None], 0)
    return x


def six_views(model, x):
    """Logits of the images x (B, 3, H, W), and their mean over six views of each: (B, n_classes) both, in float32.

    The views are the image, with weight 1/2, and its shifts by (-1, -1) and (1, 1), each with its mirror image.

    Source: airbench94, Keller Jordan, https://github.com/KellerJordan/cifar10-airbench.
    """
    border = F.pad(x, [1] * 4, mode='reflect')
    views = torch.cat([x, border[..., :-2, :-2], border[..., 2:, 2:]])
    direct, mirrored = (model(v).float().unflatten(0, (3, len(x))) for v in (views, views.flip(3)))
    weights = torch.tensor([1 / 2, 1 / 4, 1 / 4], device=x.device).view(3, 1, 1)
    return direct[0], (weights * (direct + mirrored) / 2).sum(0)


@torch.no_grad()
def predict_logits(model, data_set, machine, chunk=250, views=1):
    """Logits (N, C) in float32 and labels (N,) of a whole data set, on the CPU.

    Computed in evaluation mode, which is undone afterwards, without drawing a random number. Processes share the rows.
    The logits are those of the image, or their mean over 2 views, the image and its mirror image, or 6, as in
    six_views. Question 3's batch normalisation keeps no running statistics: with it alone the logits depend on the
    other rows of the chunk. Small chunks suit a ConvNet on a CPU, whose caches they fit better, large ones an MLP,
    which reads all its weights for each.
    """
    was_training = model.training
    model.eval()
    try:
        if machine.world_size > 1:
            for buffer in model.buffers():  # each process has running statistics of its own
                dist.broadcast(buffer, 0)
        logits, labels = [], []
        for x, y in data_set.chunks(chunk):
            mine = slice(machine.rank, None, machine.world_size)
            x = torch.from_numpy(x[mine]).to(machine.device)
            with machine.autocast():
                if views == 6:
                    _, out = six_views(model, x)
                else:
                    out = model(x).float()
                    if views == 2:
                        out = (out + model(x.flip(3)).float()) / 2
            logits.append(out.new_zeros(len(y), out.shape[1]))
            logits[-1][mine] = out
            labels.append(torch.from_numpy(y))
        logits = torch.cat(logits)
        if machine.world_size > 1:
            dist.all_reduce(logits)
    finally:
        model.train(was_training)
    return logits.cpu(), torch.cat(labels)


def evaluate(model, data_set, machine, chunk=250, views=1):
    """Mean cross entropy and accuracy over the whole set, whatever the size of the chunks."""
    logits, labels = predict_logits(model, data_set, machine, chunk, views)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).double().mean().item()


def _random_states(machine):
    """States of NumPy's and torch's random numbers as tensors; torch's for every process, since they differ."""
    _, keys, *rest = np.random.get_state()
    state = {'numpy': torch.from_numpy(keys.astype(np.int64)), 'numpy_rest': rest}
    torch_states = {'cpu': torch.get_rng_state()}
    if machine.device.type != 'cpu':
        torch_states['device'] = getattr(torch, machine.device.type).get_rng_state()
    states = [torch_states] * machine.world_size
    if machine.world_size > 1:
        dist.all_gather_object(states, torch_states)
    return state | {'torch': states}


def _set_random_states(state, machine):
    position, has_gauss, cached_gaussian = state['numpy_rest']
    np.random.set_state(('MT19937', state['numpy'].numpy().astype(np.uint32), position, has_gauss, cached_gaussian))
    states = state['torch'][machine.rank]
    torch.set_rng_state(states['cpu'])
    if 'device' in states:
        getattr(torch, machine.device.type).set_rng_state(states['device'])


def save_checkpoint(path, run, machine, data, generator, **parts):
    """Writes the whole state of training; every process calls it, the first one writes.

    Args:
        data: {split: DataSet}.
        parts: model, optimizer and whatever else has a state_dict.
    """
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {'run': run.state(), 'flags': vars(run.flags), 'random': _random_states(machine)}
    state['data'] = {
        split: {k: torch.as_tensor(v) for k, v in data_set.state_dict().items()} for split, data_set in data.items()
    }
    train_set = data['train']
    state |= {'generator': generator.get_state(), 'mean_image': torch.from_numpy(train_set.mean_image)}
    state |= {'std': None if train_set.std is None else torch.from_numpy(train_set.std)}
    if run.record:
        file = io.BytesIO()
        torch.save(state, file)
        write_atomically(path, file.getvalue(), previous=previous_of(path))


def read_checkpoint(path, **remedy):
    """The content of a checkpoint, as tensors, numbers, strings and containers of them: nothing in it can run.

    Raises:
        RunError: if the file cannot be read or holds anything else.
    """
    with reading(path, **remedy):
        # torch.load itself does not look at the checksums
        return torch.load(checked_archive(path), map_location='cpu', weights_only=True)


def load_checkpoint(path, run, machine, data, generator, **parts):
    """Restores what save_checkpoint wrote."""
    state = read_checkpoint(path)
    with reading(path):
        for name, part in parts.items():
            part.load_state_dict(state[name])
        for split, data_set in data.items():
            data_set.load_state_dict({k: v.numpy() for k, v in state['data'][split].items()})
        generator.set_state(state['generator'])
        _set_random_states(state['random'], machine)
        run.load_state(state['run'])
