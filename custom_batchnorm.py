"""Batch normalisation of a mini-batch of vectors, by autograd and with a manual backward pass (question 3).

Source: S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", ICML 2015. Both versions always use the statistics of the batch, in eval mode too: the assignment
keeps no running mean.

Numbers in parentheses are those of the equations in report/report.pdf; report/equations checks each by itself.
"""

import torch
from torch import nn


def check_input(input, n_neurons):
    """Raise ValueError unless input is (B, n_neurons) with B > 1, TypeError unless it is floating point."""
    if input.ndim != 2 or input.shape[1] != n_neurons:
        raise ValueError(f'expected input of shape (B, {n_neurons}), got {tuple(input.shape)}')
    if input.shape[0] < 2:
        raise ValueError(f'expected a batch of 2 or more to take a variance over, got {input.shape[0]}')
    if not input.is_floating_point():
        raise TypeError(f'expected floating-point input, got {input.dtype}')


class CustomBatchNormAutograd(nn.Module):
    """Batch normalisation from elementary operations, differentiated by autograd (question 3.1).

    Forward, for each neuron:
        mean  = 1/B Σₙ xₙ                       (3.1)
        var   = 1/B Σₙ (xₙ - mean)²             (3.1)
        x_hat = (x - mean) / sqrt(var + eps)    (3.2)
        out   = gamma x_hat + beta              (3.2)

    Shape: input (B, n_neurons) with B > 1, output the same; gamma, beta (n_neurons,), starting at one and zero.
    The statistics have the precision of the input; for half precision take CustomBatchNormManualModule.
    Raises ValueError for any other shape, TypeError for input that is not floating point.
    """

    def __init__(self, n_neurons, eps=1e-5):
        super().__init__()
        self.n_neurons = n_neurons
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(n_neurons))
        self.beta = nn.Parameter(torch.zeros(n_neurons))

    def forward(self, input):
        check_input(input, self.n_neurons)
        mean = input.mean(dim=0)
        var = input.var(dim=0, correction=0)
        x_hat = (input - mean) / torch.sqrt(var + self.eps)
        return self.gamma * x_hat + self.beta

    def extra_repr(self):
        return f'{self.n_neurons}, eps={self.eps}'


def batch_statistics(input, eps, buffer=None):
    """Return mean (3.1) and rstd (3.2) of every column, in float32 or better; buffer (B, C) is scratch space.

    In plain code: input.mean(dim=0) and (input.var(dim=0, correction=0) + eps) ** -0.5.
    The variance is taken around the mean, in a second pass: E[x²] - E[x]² cancels when the mean is large.
    """
    mean = input.mean(dim=0, dtype=torch.promote_types(input.dtype, torch.float32))
    x_c = torch.sub(input, mean, out=buffer)
    var = torch.mul(x_c, x_c, out=buffer).mean(dim=0)
    return mean, torch.rsqrt(var + eps)


class CustomBatchNormManualFunction(torch.autograd.Function):
    """Batch normalisation with the backward pass in closed form (question 3.2): apply(input, gamma, beta, eps=1e-5).

    Forward, for each neuron, with mean and var as in CustomBatchNormAutograd:
        rstd  = (var + eps)^(-1/2)
        x_hat = (x - mean) rstd
        out   = gamma x_hat + beta              (3.2)

    Backward, from dout = ∂L/∂out. The parameters see every sample:
        dbeta  = Σₙ doutₙ                       (3.3)
        dgamma = Σₙ doutₙ x_hatₙ                (3.3)
    An xₙ moves its own x_hat, and every x_hatₘ through the mean and the variance, where
        ∂mean/∂xₙ = 1/B    and    ∂var/∂xₙ = 2 (xₙ - mean) / B,    so    ∂rstd/∂xₙ = -rstd² x_hatₙ / B
    (the variance's own path through the mean vanishes, as Σₙ (xₙ - mean) = 0). Hence
        ∂x_hatₘ/∂xₙ = rstd (δₘₙ - 1/B - x_hatₘ x_hatₙ / B),    (3.9)
    and summing over m, with dx_hat = gamma dout (3.4), closes the form:
        dxₙ = gamma rstd (doutₙ - dbeta / B - x_hatₙ dgamma / B)    (3.8)

    Shape: input, out, dout (B, C) with B > 1; gamma, beta (C,).
    Saved for backward: input (B, C) and gamma, mean, rstd (C,).
    Half-precision input has its statistics in float32 and its output in its own dtype.
    Raises ValueError for any other shape, TypeError for input that is not floating point.

    In plain code, the two passes are
        x_hat = (input - mean) * rstd
        out = gamma * x_hat + beta

        dbeta = dout.sum(dim=0)
        dgamma = (dout * x_hat).sum(dim=0)
        dinput = gamma * rstd * (dout - dbeta / B - x_hat * dgamma / B)
    Below they are written as passes over a single (B, C) buffer: on a CPU the page faults of a fresh large tensor cost
    more than the arithmetic. In return it cannot be batched (torch.func, vectorize=True); CustomBatchNormAutograd can.
    """

    @staticmethod
    def forward(ctx, input, gamma, beta, eps=1e-5):
        if gamma.ndim != 1 or gamma.shape != beta.shape:
            shapes = f'{tuple(gamma.shape)} and {tuple(beta.shape)}'
            raise ValueError(f'expected gamma and beta of one shape (C,), got {shapes}')
        check_input(input, len(gamma))
        dtype = torch.promote_types(input.dtype, torch.float32)
        # The compiler fuses passes by itself, and torch 2.11's loses the gradients of a result that is written into a
        # buffer or has a second name (pytorch issue 180642).
        buffer = None if torch.compiler.is_compiling() else torch.empty_like(input, dtype=dtype)
        mean, rstd = batch_statistics(input, eps, buffer)
        ctx.save_for_backward(input, gamma, mean, rstd)
        ctx.eps = eps

        # out = gamma rstd (x - mean) + beta
        x_c = torch.sub(input, mean, out=buffer)
        out = torch.addcmul(beta, x_c, gamma * rstd, out=buffer)
        return out if dtype == input.dtype else out.to(input.dtype)

    @staticmethod
    def backward(ctx, dout):
        input, gamma, mean, rstd = ctx.saved_tensors
        needs_input, needs_gamma, needs_beta = ctx.needs_input_grad[:3]
        dinput = dgamma = dbeta = None
        B = len(input)

        if torch.is_grad_enabled():
            # Differentiated again (create_graph=True): autograd has to see that the statistics depend on the input,
            # and keeps the intermediates, so that each is a tensor of its own.
            mean, rstd = batch_statistics(input, ctx.eps)
            buffer = None
        else:
            buffer = torch.empty_like(input, dtype=mean.dtype)

        if needs_input or needs_beta:
            # dbeta = Σ dout
            dbeta = dout.sum(dim=0, dtype=mean.dtype)
        if needs_input or needs_gamma:
            # dgamma = Σ dout x_hat = rstd Σ dout (x - mean)
            x_c = torch.sub(input, mean, out=buffer)
            dgamma = rstd * torch.mul(dout, x_c, out=buffer).sum(dim=0)
        if needs_input:
            # dx = gamma rstd dout - gamma rstd / B (dbeta + x_hat dgamma)
            scale = gamma * rstd
            shared = -scale / B
            x_c = torch.sub(input, mean, out=buffer)
            feedback = torch.addcmul(shared * dbeta, x_c, shared * rstd * dgamma, out=buffer)
            dinput = torch.addcmul(feedback, dout, scale, out=buffer).to(input.dtype)
        return dinput, dgamma if needs_gamma else None, dbeta if needs_beta else None, None


class CustomBatchNormManualModule(nn.Module):
    """Batch normalisation through CustomBatchNormManualFunction (question 3.2); used as CustomBatchNormAutograd is.

    Forward (3.2), backward (3.3) and (3.8).

    Shape: input (B, n_neurons) with B > 1, output the same; gamma, beta (n_neurons,), starting at one and zero.
    Raises ValueError for any other shape, TypeError for input that is not floating point.
    """

    def __init__(self, n_neurons, eps=1e-5):
        super().__init__()
        self.n_neurons = n_neurons
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(n_neurons))
        self.beta = nn.Parameter(torch.zeros(n_neurons))

    def forward(self, input):
        return CustomBatchNormManualFunction.apply(input, self.gamma, self.beta, self.eps)

    def extra_repr(self):
        return f'{self.n_neurons}, eps={self.eps}'
