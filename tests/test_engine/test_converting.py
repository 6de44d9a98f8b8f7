"""Checkpoints of RepDistiller, mdistiller, torchvision, timm and torchdistill, there and back."""

import argparse
import json
import resource
import runpy
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from mmengine.config import Config

from aekt_mm.engine.converting import convert
from aekt_mm.models.classifiers import build_classifier
from aekt_mm.models.weights import load_weights

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
VANILLA = ROOT / 'configs' / 'vanilla'
TEACHER = ROOT / 'checkpoints' / 'cifar100_resnet20.pth'
LITERATURE = json.loads((ROOT / 'tests/data/backbones.json').read_text())['networks']


def network(recipe):
    return build_classifier(Config.fromfile(recipe).model)[0].eval()


def saved(path):
    return torch.load(path, weights_only=True)


def assert_same(left, right):
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        assert torch.equal(left[name], right[name]), name


@pytest.mark.skipif(not TEACHER.is_file(), reason=f'{TEACHER.name} is not in checkpoints/')
def test_a_real_teacher_round_trips_bit_for_bit(tmp_path):
    recipe = VANILLA / 'vanilla_resnet20_cifar100.py'
    convert(recipe, TEACHER, tmp_path / 'ours.pth', 'aekt_mm')
    convert(recipe, tmp_path / 'ours.pth', tmp_path / 'theirs.pth', 'mdistiller')
    assert_same(saved(tmp_path / 'theirs.pth')['model'], saved(TEACHER)['model'])
    directly = network(recipe)
    load_weights(directly, str(TEACHER))
    assert_same(saved(tmp_path / 'ours.pth')['state_dict'], directly.state_dict())


@pytest.mark.parametrize(
    'name',
    [
        'resnet8x4',
        'wrn-16-2',
        'vgg8',
        'mobilenet-v2',
        'shufflenet-v1',
        'shufflenet-v2',
        'resnet50',
    ],
)
def test_networks_for_cifar_get_the_names_of_repdistiller(name, tmp_path):
    """The names that tests/data/backbones.json holds of the definitions of the literature."""
    path = VANILLA / f'vanilla_{name}_cifar100.py'
    model = network(path)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'ours.pth')
    convert(path, tmp_path / 'ours.pth', tmp_path / 'theirs.pth', 'repdistiller')
    [names] = [
        entry['names']
        for entry in LITERATURE.values()
        if json.loads(json.dumps(Config.fromfile(path).model.backbone)) == entry['backbone']
    ]
    expected = []
    for name in model.state_dict():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        expected.append(name)
    theirs = saved(tmp_path / 'theirs.pth')['model']
    assert list(theirs) == expected

    wrapped = {'model': {f'module.{name}': value for name, value in theirs.items()}}
    torch.save(wrapped, tmp_path / 'parallel.pth')
    convert(path, tmp_path / 'parallel.pth', tmp_path / 'back.pth', 'aekt_mm')
    assert_same(saved(tmp_path / 'back.pth')['state_dict'], model.state_dict())


@pytest.mark.parametrize(
    ('recipe', 'framework', 'theirs'),
    [
        ('r18_imagenet', 'torchvision', lambda: torchvision.models.resnet18()),
        ('r18_imagenet', 'timm', lambda: timm.create_model('resnet18')),
        ('deit-tiny_imagenet', 'timm', lambda: timm.create_model('deit_tiny_patch16_224')),
    ],
    ids=['torchvision resnet18', 'timm resnet18', 'timm deit-tiny'],
)
def test_logits_and_names_are_the_peers(recipe, framework, theirs, tmp_path):
    torch.manual_seed(0)
    peer = theirs().eval()
    recipe = VANILLA / f'vanilla_{recipe}.py'
    torch.save(peer.state_dict(), tmp_path / 'theirs.pth')
    convert(recipe, tmp_path / 'theirs.pth', tmp_path / 'ours.pth', 'aekt_mm')
    ours = network(recipe)
    load_weights(ours, str(tmp_path / 'ours.pth'))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = peer(images)
        tolerance = 1e-5 * max(1, expected.abs().max().item())
        torch.testing.assert_close(ours(images), expected, rtol=0, atol=tolerance)
    convert(recipe, tmp_path / 'ours.pth', tmp_path / 'back.pth', framework)
    back = saved(tmp_path / 'back.pth')
    assert back.keys() == peer.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in peer.state_dict().items())


def test_deit_with_its_distillation_token(tmp_path):
    peer = timm.create_model('deit_tiny_distilled_patch16_224').eval()
    torch.save({'model': peer.state_dict()}, tmp_path / 'theirs.pth')
    recipe = tmp_path / 'distilled.py'
    recipe.write_text(
        f'_base_ = {str(VANILLA / "vanilla_deit-tiny_imagenet.py")!r}\n'
        "model = dict(backbone=dict(type='DistilledVisionTransformer'),"
        " head=dict(type='DeiTClsHead'))\n"
    )
    convert(recipe, tmp_path / 'theirs.pth', tmp_path / 'ours.pth', 'aekt_mm')
    ours = network(recipe)
    load_weights(ours, str(tmp_path / 'ours.pth'))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), peer(images), rtol=0, atol=1e-5)


def test_a_student_of_timm_has_its_names(tmp_path):
    peer = timm.create_model('test_resnet', num_classes=4)
    torch.save(peer.state_dict(), tmp_path / 'theirs.pth')
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(
        "model = dict(type='TimmClassifier', model_name='test_resnet', num_classes=4)"
    )
    for source, target, framework in (('theirs', 'ours', 'aekt_mm'), ('ours', 'back', 'timm')):
        convert(recipe, tmp_path / f'{source}.pth', tmp_path / f'{target}.pth', framework)
    assert_same(saved(tmp_path / 'back.pth'), peer.state_dict())
    with pytest.raises(ValueError, match=r'mdistiller has no TimmClassifier: write for one of'):
        convert(recipe, tmp_path / 'ours.pth', tmp_path / 'no.pth', 'mdistiller')


def test_a_distillers_recipe_means_its_student(tmp_path):
    recipe = ROOT / 'configs/kd/kd_resnet20_resnet8_cifar100.py'
    student = network(VANILLA / 'vanilla_resnet8_cifar100.py')
    torch.save(student.state_dict(), tmp_path / 'ours.pth')
    convert(recipe, tmp_path / 'ours.pth', tmp_path / 'theirs.pth', 'repdistiller')
    assert len(saved(tmp_path / 'theirs.pth')['model']) == len(student.state_dict())


def test_what_torchdistill_saves_needs_no_saving_anew(tmp_path):
    """It keeps its command line, an argparse.Namespace, beside the weights."""
    recipe = VANILLA / 'vanilla_resnet8_cifar100.py'
    ours = network(recipe)
    optimizer = torch.optim.SGD(ours.parameters(), lr=1e-4, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 15])
    content = {
        'model': ours.state_dict(),
        'optimizer': optimizer.state_dict(),
        'best_value': 71.0,
        'lr_scheduler': schedule.state_dict(),
        'args': argparse.Namespace(config='kd.yaml', device='cuda', seed=None, world_size=1),
    }
    torch.save(content, tmp_path / 'theirs.pt')
    convert(recipe, tmp_path / 'theirs.pt', tmp_path / 'ours.pth', 'aekt_mm')
    assert_same(saved(tmp_path / 'ours.pth')['state_dict'], ours.state_dict())
    teacher = network(recipe)
    load_weights(teacher, str(tmp_path / 'theirs.pt'))
    assert_same(teacher.state_dict(), ours.state_dict())


def test_refuses_what_does_not_fit(tmp_path):
    recipe = VANILLA / 'vanilla_resnet8_cifar100.py'
    other = network(VANILLA / 'vanilla_resnet14_cifar100.py')
    torch.save({'state_dict': other.state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'(?s)not a checkpoint of this recipe.*layer1\.1\.conv1'):
        convert(recipe, tmp_path / 'other.pth', tmp_path / 'out.pth', 'mdistiller')
    with pytest.raises(
        ValueError, match=r"timm has no CIFARResNet: write for one of \('aekt_mm', "
    ):
        convert(recipe, tmp_path / 'other.pth', tmp_path / 'out.pth', 'timm')
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        convert(recipe, tmp_path / 'none.pth', tmp_path / 'out.pth', 'mdistiller')
    assert not (tmp_path / 'out.pth').exists()


def test_the_tool(tmp_path, monkeypatch):
    recipe = VANILLA / 'vanilla_vgg8_cifar100.py'
    tool = ROOT / 'tools/model_converters/convert.py'
    torch.save(network(recipe).state_dict(), tmp_path / 'ours.pth')

    def run(source):
        args = [recipe, tmp_path / source, tmp_path / 'theirs.pth', '--to', 'repdistiller']
        monkeypatch.setattr('sys.argv', [str(tool), *map(str, args)])
        runpy.run_path(str(tool), run_name='__main__')

    run('ours.pth')
    assert 'classifier.weight' in saved(tmp_path / 'theirs.pth')['model']
    with pytest.raises(SystemExit, match='convert: there is no checkpoint'):
        run('none.pth')


def test_a_full_disk_leaves_what_was_there(tmp_path):
    recipe = VANILLA / 'vanilla_resnet8_cifar100.py'
    torch.save(network(recipe).state_dict(), tmp_path / 'ours.pth')
    target = tmp_path / 'target.pth'
    convert(recipe, tmp_path / 'ours.pth', target, 'mdistiller')
    before = target.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises((OSError, RuntimeError)):
            convert(recipe, tmp_path / 'ours.pth', target, 'repdistiller')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {'ours.pth', 'target.pth'}


def test_to_safetensors(tmp_path):
    recipe = VANILLA / 'vanilla_resnet8_cifar100.py'
    ours = network(recipe)
    torch.save(ours.state_dict(), tmp_path / 'ours.pth')
    convert(recipe, tmp_path / 'ours.pth', tmp_path / 'ours.safetensors', 'aekt_mm')
    again = network(recipe)
    load_weights(again, str(tmp_path / 'ours.safetensors'))
    assert all(value.equal(again.state_dict()[name]) for name, value in ours.state_dict().items())
