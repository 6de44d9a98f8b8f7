"""A network's weights from a file: all of them, finite, or an error that says what differs."""

import pytest
import torch
from torch import nn
from torchvision.models import mnasnet0_5

from aekt_mm.models.checkpoints import save_weights
from aekt_mm.models.classifiers import build_classifier
from aekt_mm.models.distillers import LogitDistiller
from aekt_mm.models.weights import find_weights, load_own_weights, load_weights

pytestmark = pytest.mark.stack


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


class Renamed(nn.Linear):
    """Looks for its weights under names that it does not save them under."""

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in list(state_dict):
            state_dict[f'{prefix}inner.{name.removeprefix(prefix)}'] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)


def test_a_network_that_does_not_hold_what_was_read(tmp_path):
    model = nn.Sequential(Renamed(3, 2), nn.Linear(2, 2))
    other = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    save_weights(other.state_dict(), tmp_path / 'weights.pth')
    message = r'weights\.pth was not loaded: 2 of 4 weights .* the first of them 0\.weight'
    with pytest.raises(ValueError, match=message):
        load_weights(model, str(tmp_path / 'weights.pth'))
    with pytest.raises(ValueError, match=message):
        load_own_weights(model, other.state_dict(), 'weights.pth')


def timm_distiller():
    student = dict(type='TimmClassifier', model_name='test_resnet', num_classes=4)
    losses = dict(kd=dict(type='KDLoss'))
    return LogitDistiller(student, lambda images, _: images[:, 0, 0, :4], losses)


def test_a_student_of_timm_gets_its_weights():
    pytest.importorskip('timm')
    saved, loaded = timm_distiller(), timm_distiller()
    load_own_weights(loaded, saved.state_dict(), 'epoch_1.pth')
    state = loaded.state_dict()
    assert all(value.equal(state[name]) for name, value in saved.state_dict().items())
    # alone it is mmpretrain's, under timm's names
    load_own_weights(loaded.student, saved.student.state_dict(), 'student.pth')
    assert 'fc.bias' in saved.student.state_dict()


@torch.no_grad()
def test_tables_for_images_of_another_size(tmp_path):
    """EVA02 replaces those of its config by those of the images that it is trained on."""
    backbone = dict(
        type='ViTEVA02',
        arch=dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8),
        img_size=64,
        final_norm=False,
        out_type='avg_featmap',
    )
    head = dict(type='LinearClsHead', num_classes=4, in_channels=8)
    saved, loaded = (
        build_classifier(dict(type='ImageClassifier', backbone=backbone, head=head))[0].eval()
        for _ in range(2)
    )
    images = torch.randn(2, 3, 32, 32)
    expected = saved(images)
    save_weights(saved.state_dict(), tmp_path / 'eva.pth')
    load_weights(loaded, str(tmp_path / 'eva.pth'))
    assert loaded(images).equal(expected)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: {
            'net': state,
            'epoch': 3,
            'optimizer': {'state': {0: {'step': torch.ones(1)}}},
        },
        lambda state: {'net': {'state_dict': state}, 'rng': torch.ones(1)},
        lambda state: {'model': {'model_state_dict': state}, 'ema': state},
        lambda state: {**state, 'extra': {'best': torch.ones(1)}},
    ],
)
def test_weights_are_found_under_other_keys(wrap, tmp_path):
    saved, loaded = network(), network()
    torch.save(wrap(saved.state_dict()), tmp_path / 'weights.pth')
    load_weights(loaded, str(tmp_path / 'weights.pth'))
    assert all(value.equal(loaded.state_dict()[k]) for k, value in saved.state_dict().items())


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ({'net': network().state_dict(), 'ema': network().state_dict()}, "weights under 'net' and"),
        ({'epoch': 3, 'args': {'lr': 0.1}}, r"but \['epoch', 'args'\]"),
    ],
)
def test_keys_without_the_weights_are_named(content, found):
    message = f"x.pth has no weights under 'state_dict', 'model', .*{found}.* that is meant"
    with pytest.raises(ValueError, match=message):
        find_weights(content, 'x.pth')


def test_a_network_that_asks_for_the_version_of_its_weights(tmp_path):
    """Of torchvision's, MNASNet's loading reads it in what a state_dict has beside its entries."""
    torch.save(mnasnet0_5().state_dict(), tmp_path / 'mnasnet.pth')
    load_weights(mnasnet0_5(), str(tmp_path / 'mnasnet.pth'))
