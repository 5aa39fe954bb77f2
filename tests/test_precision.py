"""In which precision a machine computes, and how float16 keeps small gradients."""

import pytest
import torch
from conftest import SHORT, assert_same_run, parse, read_checkpoint, short_run
from test_resume import interrupted_run

from training.errors import UsageError
from training.hardware import fastest_precision
from training.torch_machine import TorchMachine


def machine(precision):
    return TorchMachine(parse('train_mlp_pytorch', '--device', 'cpu', '--precision', precision))


@pytest.mark.parametrize(
    ('capability', 'precision'),
    [((6, 1), 'fp32'), ((7, 0), 'fp16'), ((7, 5), 'fp16'), ((8, 0), 'bf16'), ((9, 0), 'bf16')],
)
def test_what_auto_takes_on_a_gpu(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    assert fastest_precision(torch.device('cuda')) == precision


def test_apple_gpus_have_no_loss_scaling(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    flags = parse('train_mlp_pytorch', '--device', 'mps', '--precision', 'fp16')
    with pytest.raises(UsageError, match='fp16 is for cuda and cpu'):
        TorchMachine(flags)


def test_float16_keeps_gradients_that_are_smaller_than_its_numbers():
    layer, x = torch.nn.Linear(8, 1, bias=False), torch.ones(4, 8)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e9)
    torch.nn.init.zeros_(layer.weight)
    one = machine('fp16')
    scaler = one.scaler()
    with one.autocast():
        out = layer(x)
    assert out.dtype == torch.float16
    scaler.scale(1e-9 * out.float().mean()).backward()  # 1 for each weight, times 1e-9; float16 ends at 6e-8
    scaler.step(optimizer)
    assert layer.weight.tolist() == [pytest.approx([-1] * 8, rel=1e-2)]  # scaled, it is 6.5e-5 with 10 bits


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_other_precisions_scale_nothing(precision):
    loss = torch.tensor(1.0)
    assert machine(precision).scaler().scale(loss) is loss


def test_a_resumed_run_in_float16_has_the_same_bits(quick, monkeypatch, data_dir, tmp_path):
    script, flags = 'train_mlp_pytorch', ['--precision', 'fp16', '--dnn_hidden_units', 8, '--quiet']
    history = short_run(script, data_dir, tmp_path / 'unbroken', *flags)
    step = history[0]['step'] + 1
    interrupted_run(monkeypatch, 'after_step', step, script, data_dir, tmp_path / 'broken', *flags)
    short_run(script, data_dir, tmp_path / 'broken', *flags, '--resume')
    assert_same_run(tmp_path / 'broken', tmp_path / 'unbroken')
    scaler = read_checkpoint(tmp_path / 'unbroken' / 'checkpoint.pt')['scaler']
    assert scaler['_growth_tracker'] == int(SHORT[script].split()[1])  # steps since the scale last changed
