import torch
import torch.nn as nn


class CustomBatchNormAutograd(nn.Module):
    def __init__(self, n_neurons, eps=1e-5):
        super(CustomBatchNormAutograd, self).__init__()
        self.n_neurons = n_neurons
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(1, n_neurons))
        self.shift = nn.Parameter(torch.zeros(1, n_neurons))

    def forward(self, input):
        if input.shape[1] != self.n_neurons:
            raise ValueError('wrong input size')
        mu = input.mean(dim=0)
        sigma2 = input.var(dim=0, unbiased=False)
        norm = (input - mu) / torch.sqrt(sigma2 + self.eps)
        return self.scale * norm + self.shift


class CustomBatchNormManualFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, gamma, beta, eps=1e-5):
        mu = input.mean(dim=0)
        var = input.var(dim=0, unbiased=False)
        std = torch.sqrt(var + eps)
        norm = (input - mu) / std
        ctx.save_for_backward(norm, gamma, std)
        return gamma * norm + beta

    @staticmethod
    def backward(ctx, grad_output):
        norm, gamma, std = ctx.saved_tensors
        grad_input = grad_gamma = grad_beta = None
        B = norm.shape[0]
        if ctx.needs_input_grad[1]:
            grad_gamma = (grad_output * norm).sum(dim=0)
        if ctx.needs_input_grad[2]:
            grad_beta = grad_output.sum(dim=0)
        if ctx.needs_input_grad[0]:
            dnorm = grad_output * gamma
            grad_input = (B * dnorm - dnorm.sum(dim=0) - norm * (dnorm * norm).sum(dim=0)) / (B * std)
        return grad_input, grad_gamma, grad_beta, None


class CustomBatchNormManualModule(nn.Module):
    def __init__(self, n_neurons, eps=1e-5):
        super(CustomBatchNormManualModule, self).__init__()
        self.n_neurons = n_neurons
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(n_neurons))
        self.beta = nn.Parameter(torch.zeros(n_neurons))

    def forward(self, input):
        if input.shape[1] != self.n_neurons:
            raise ValueError('wrong input size')
        bn = CustomBatchNormManualFunction()
        return bn.apply(input, self.gamma, self.beta, self.eps)
