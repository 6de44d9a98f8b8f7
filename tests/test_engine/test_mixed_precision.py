import pytest
import torch
from mmengine.config import Config
from torch import nn

from aekt_mm.engine import BFloat16OptimWrapper, mixed_precision
from aekt_mm.engine.mixed_precision import use_mixed_precision

pytestmark = pytest.mark.stack


@pytest.mark.parametrize('device, expected', [('cpu', 'BFloat16'), ('cuda', 'Amp')])
def test_what_the_device_has(monkeypatch, device, expected):
    monkeypatch.setattr(mixed_precision, 'get_device', lambda: device)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1))))
    use_mixed_precision(cfg)
    assert cfg.optim_wrapper.type.rpartition('.')[2] == f'{expected}OptimWrapper'
    assert cfg.optim_wrapper.get('loss_scale') == (None if device == 'cpu' else 'dynamic')
    assert cfg.optim_wrapper.optimizer.lr == 0.1


def test_a_step_is_that_of_rounded_weights_and_inputs():
    """A linear layer's gradient by hand, of everything rounded to bfloat16."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3, bias=False)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    before, inputs = model.weight.detach().clone(), torch.rand(4, 5)
    with wrapper.optim_context(model):
        outputs = model(inputs)
    wrapper.update_params(outputs.float().square().sum())
    x, w = inputs.bfloat16().double(), before.bfloat16().double()
    expected = before.double() - 0.5 * (2 * (x @ w.T)).T @ x
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight.double(), expected, rtol=0.02, atol=0.02)
    assert not torch.equal(model.weight, model.weight.bfloat16().float())
