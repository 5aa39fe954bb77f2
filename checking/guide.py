"""Where report/report.tex derives what an item asks for: section, and equation where there is one."""

WHERE = {  # item: label in report.tex, section, equation
    'linear.init': ('sec:numpy', '1.2', ''),
    'linear.forward': ('eq:batch-linear', '1.1 c)', '1.19'),
    'linear.input': ('eq:chain-input', '1.1 b)', '1.13'),
    'linear.weight': ('eq:batch-weight', '1.1 c)', '1.24'),
    'linear.bias': ('eq:batch-bias', '1.1 c)', '1.25'),
    'activation.forward': ('eq:relu', '1', '1.2'),
    'activation.input': ('eq:relu-jacobian', '1.1 a)', '1.8'),
    'softmax.forward': ('eq:softmax', '1', '1.3'),
    'softmax.stable': ('eq:shifted-softmax', '1.2', '1.26'),
    'softmax.input': ('eq:batch-softmax', '1.1 c)', '1.21'),
    'cross_entropy.forward': ('eq:batch-loss', '1.1 c)', '1.18'),
    'cross_entropy.input': ('eq:batch-cross-entropy', '1.1 c)', '1.20'),
    'mlp_numpy.forward': ('sec:numpy', '1.2', ''),
    'mlp_numpy.gradients': ('eq:batch-hidden', '1.1 c)', '1.23'),
    'mlp_pytorch': ('sec:pytorch', '2', ''),
    'batchnorm_autograd.forward': ('eq:bn-forward', '3', '3.2'),
    'batchnorm_autograd.gradients': ('sec:bn-autograd', '3.1', ''),
    'batchnorm_function.forward': ('eq:bn-forward', '3', '3.2'),
    'batchnorm_function.gradients': ('eq:bn-closed', '3.2 a)', '3.8'),
    'batchnorm_function.needs_input_grad': ('sec:bn-saved', '3.2 b)', ''),
    'batchnorm_module': ('eq:bn-forward', '3', '3.2'),
    'convnet': ('sec:convnet', '4', ''),
    'unchanged_input': ('sec:numpy', '1.2', ''),
    'repeatable': ('sec:numpy', '1.2', ''),
}


def where_to_read(item):
    """A sentence that sends the reader to the report."""
    _, section, equation = WHERE[item]
    return f'The report derives it in section {section}' + (f', equation ({equation}).' if equation else '.')
