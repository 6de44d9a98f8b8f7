"""A network's weights from a file: all of them, finite, or an error that says what differs."""

import pytest
import torch
from torch import nn

from aekt_mm.models.checkpoints import save_weights
from aekt_mm.models.weights import load_own_weights, load_weights


def network(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_loads_all(suffix, tmp_path):
    saved, loaded = network(), network()
    save_weights(saved.state_dict(), tmp_path / f'weights.{suffix}')
    load_weights(loaded, str(tmp_path / f'weights.{suffix}'))
    for name, value in saved.state_dict().items():
        assert value.equal(loaded.state_dict()[name])


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_weights_that_are_no_numbers(value, tmp_path):
    broken = network()
    broken[1].weight.data[0, 1] = value
    save_weights(broken.state_dict(), tmp_path / 'broken.pth')
    message = r'broken\.pth can not be used: 1 of 8 numbers of 1\.weight are NaN or infinite'
    with pytest.raises(ValueError, match=message):
        load_weights(network(), str(tmp_path / 'broken.pth'))
    with pytest.raises(ValueError, match='1 of 8 numbers'):
        load_own_weights(network(), broken.state_dict(), 'broken.pth')


def test_what_does_not_fit_is_said_in_a_few_lines(tmp_path):
    state = {**network(width=5).state_dict(), 'more': torch.ones(1), '0.bias': torch.ones(5)}
    del state['1.bias']
    save_weights(state, tmp_path / 'other.pth')
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_weights(model, str(tmp_path / 'other.pth'))
    assert str(error.value).splitlines() == [
        f'{tmp_path}/other.pth does not fit Sequential; nothing was loaded:',
        '  different: 0.weight is (5, 3), wanted (4, 3), and 2 more',
        '  missing: 1.bias',
        '  left over: more',
    ]
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
