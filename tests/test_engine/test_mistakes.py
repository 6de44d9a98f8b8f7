"""Every mistake is answered in a line, and leaves nothing behind.

The mistakes are data: tests/data/mistakes.yaml.
"""

import copy
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OneCycleLR, OptimWrapper
from mmpretrain.visualization import UniversalVisualizer
from torch.utils.data import default_collate

from aekt_mm.engine import launching
from aekt_mm.engine.config_check import check_config, explain
from aekt_mm.engine.config_effects import beside_its_part
from aekt_mm.models.classifiers import build_classifier

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
MISTAKES = yaml.safe_load((ROOT / 'tests/data/mistakes.yaml').read_text(encoding='utf-8'))

pytest.importorskip('sklearn')


@pytest.fixture(scope='module')
def main():
    """The tools' main functions."""
    tools = {
        'train': 'train.py',
        'test': 'test.py',
        'publish_student': 'publish_student.py',
        'convert': 'model_converters/convert.py',
        'cache_teacher': 'cache_teacher.py',
    }
    return {
        name: runpy.run_path(str(ROOT / 'tools' / path), run_name='tool')['main']
        for name, path in tools.items()
    }


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What the mistakes are made over: a short recipe with its teacher, and files of many kinds."""
    folder = tmp_path_factory.mktemp('mistakes')
    recipe = ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'
    (folder / 'short.py').write_text(f"""
_base_ = {str(recipe)!r}

model = dict(
    teacher=dict(model=dict(backbone=dict(depth=8)), checkpoint={str(folder / 'teacher.pth')!r})
)
param_scheduler = dict(total_steps=4)
train_cfg = dict(max_epochs=4)
""")
    torch.manual_seed(1)
    teacher, _ = build_classifier(Config.fromfile(folder / 'short.py').model.teacher.model)
    state = teacher.state_dict()
    torch.save(state, folder / 'teacher.pth')
    torch.save({'state_dict': state}, folder / 'weights.pth')
    run = {'state_dict': state, 'message_hub': {}, 'meta': {}, 'optimizer': {}}
    torch.save(run, folder / 'foreign_run.pth')
    state = {**state, 'head.fc.bias': torch.full((10,), torch.nan)}
    torch.save(state, folder / 'nan.pth')
    (folder / 'half.pth').write_bytes((folder / 'teacher.pth').read_bytes()[:9000])
    (folder / 'text.pth').write_text('not found, says the server')
    (folder / 'folder.pth').mkdir()
    for name, content in MISTAKES['files'].items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture
def leaves(folder, main, monkeypatch, capsys):
    """Run a tool and return what it says when it leaves; see that it left nothing behind."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Config, 'pretty_text', 'for brevity')
    monkeypatch.setenv('TORCH_HOME', str(folder / 'cache'))

    def leaves(tool, *arguments):
        for owner in (
            MMLogger,
            MessageHub,
            UniversalVisualizer,
        ):  # as a process of its own has none
            owner._instance_dict.clear()
        before = set(folder.iterdir())
        monkeypatch.setattr(sys, 'argv', [f'tools/{tool}.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            main[tool]()
        printed = capsys.readouterr()
        said = printed.err if leaving.value.code == 2 else leaving.value.code  # argparse's
        assert said
        assert set(folder.iterdir()) - before <= {folder / 'cache'}
        return str(said).removeprefix(f'{tool}: '), printed.out

    return leaves


def unfolded(text, folder):
    return text.replace(f'{folder}/', '').strip()


@pytest.mark.parametrize('option', MISTAKES['options'])
def test_options(option, folder, leaves, monkeypatch):
    loaded = read(folder / 'short.py')
    monkeypatch.setattr(launching, 'load_recipe', lambda _: copy.deepcopy(loaded))
    said, printed = leaves('train', 'short.py', '--cfg-options', *option.split())
    assert MISTAKES['options'][option] in unfolded(said, folder)
    if 'usage:' not in said:
        assert len(said.splitlines()) <= 3
        assert not printed.replace('Could not import OneDL', '').strip()


LOADED = {}


def read(path):
    """Reading a recipe with its bases takes longer than checking it."""
    if path not in LOADED:
        LOADED[path] = Config.fromfile(path)
    return LOADED[path]


@pytest.mark.parametrize('command', MISTAKES['commands'])
def test_commands(command, folder, leaves):
    tool, *arguments = command.split()
    said, _ = leaves(tool, *arguments)
    assert MISTAKES['commands'][command] in unfolded(said, folder)
    assert len(said.splitlines()) <= 4 or 'usage:' in said


def test_there_are_enough():
    assert len(MISTAKES['options']) + len(MISTAKES['commands']) >= 150


def test_with_traceback(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, 'argv', ['train.py', 'absent.py', '--traceback'])
    with pytest.raises(FileNotFoundError):
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')


@pytest.mark.parametrize('recipe', sorted((ROOT / 'configs').glob('*/*_*.py'))[::12])
def test_recipes_have_none(recipe):
    if recipe.parent.name != '_base_':
        check_config(Config.fromfile(recipe))


@pytest.mark.parametrize(
    'config',
    [
        'resnet/resnet50_8xb32_in1k.py',
        'swin_transformer/swin-tiny_16xb64_in1k.py',
        'efficientnet_v2/efficientnetv2-s_8xb32_in1k-384px.py',
        'moco/moco_resnet50_8xb32-coslr-200e_in1k.py',
        'cifar/resnet18_8xb16_cifar10.py',
    ],
)
def test_mmpretrains_configs_have_none(config):
    import mmpretrain

    path = Path(mmpretrain.__file__).parent / '.mim/configs' / config
    if not path.exists():
        pytest.skip('this release has it elsewhere')
    check_config(Config.fromfile(path))


def test_crops_come_in_whole_batches():
    cfg = Config.fromfile(ROOT / 'configs/aekt/aekt_r34_r18_imagenet.py')
    cfg.train_dataloader.dataset.update(type='CropDataset', scale=224)
    with pytest.raises(ValueError, match='since CropDataset hands out whole batches; it is'):
        check_config(cfg)
    cfg.train_dataloader.collate_fn.type = 'whole_batch'
    check_config(cfg)


def test_nothing_stands_around_views():
    cfg = Config.fromfile(ROOT / 'configs/aekt/aekt_r34_r18_imagenet.py')
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    with pytest.raises(ValueError) as refused:
        check_config(cfg)
    assert str(refused.value) == (
        'RepeatDataset stands around ViewDataset (train_dataloader.dataset.dataset), which draws '
        'views by the numbers of samples: put it into the ViewDataset, whose dataset it then is'
    )
    repeated = dict(type='RepeatDataset', times=2, dataset=inner.dataset)
    cfg.train_dataloader.dataset = dict(type='ViewDataset', dataset=repeated)
    check_config(cfg)


def test_a_rate_of_its_own_that_the_schedule_would_replace():
    cfg = Config.fromfile(ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py')
    slow = dict(custom_keys={'connector': dict(lr_mult=0.1, decay_mult=0.0)})
    cfg.optim_wrapper.paramwise_cfg = slow
    with pytest.raises(ValueError) as refused:
        check_config(cfg)
    assert str(refused.value) == (
        'optim_wrapper.paramwise_cfg.custom_keys.connector.lr_mult is 0.1, but OneCycleLR sets one '
        'rate for all parameters: take another param_scheduler, such as CosineAnnealingLR'
    )
    cfg.optim_wrapper.paramwise_cfg = dict(bias_lr_mult=2.0)
    with pytest.raises(ValueError, match='bias_lr_mult is 2'):
        check_config(cfg)
    for harmless in (dict(connector=dict(decay_mult=0.0)), {}, None):
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=harmless)
        check_config(cfg)
    cfg.optim_wrapper.paramwise_cfg = slow
    cfg.optim_wrapper.paramwise_cfg = dict(layer_decay_rate=0.7)
    with pytest.raises(ValueError, match=r'layer_decay_rate is 0\.7'):
        check_config(cfg)
    cfg.optim_wrapper.paramwise_cfg = slow
    cfg.auto_scale_lr.enable = True
    with pytest.raises(ValueError, match='auto_scale_lr has no effect, since the rate under One'):
        check_config(cfg)
    cfg.param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)
    check_config(cfg)


def test_a_setting_at_the_top_is_no_setting_of_a_part():
    cfg = Config(
        dict(
            max_epochs=3,
            lr=0.1,  # a variable, which a part has
            seed=0,
            train_cfg=dict(max_epochs=4),
            optim_wrapper=dict(optimizer=dict(lr=0.1)),
        )
    )
    assert list(beside_its_part(cfg)) == [
        'Nothing reads max_epochs=3 at the top of the config: see train_cfg.max_epochs',
        'Nothing reads seed=0 at the top of the config: see randomness.seed',
    ]


def test_variables_and_imports_at_the_top_are_no_misspellings():
    cfg = Config.fromfile(ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py')
    cfg.OptimWrapper = OptimWrapper  # as a config in pure Python imports it
    cfg.tmodel = copy.deepcopy(cfg.model.backbone)
    check_config(cfg)
    cfg.tmodel.depth = 14
    with pytest.raises(ValueError, match="'tmodel', which nothing reads: did you mean model"):
        check_config(cfg)


def test_what_the_loop_of_train_takes_is_known():
    cfg = Config.fromfile(ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py')
    cfg.train_cfg.capture = True
    check_config(cfg)


def test_classes_as_types_are_seen_through():
    cfg = Config.fromfile(ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py')
    cfg.param_scheduler.type = OneCycleLR
    cfg.optim_wrapper.optimizer.lr = 0.01
    with pytest.raises(ValueError, match='the rate under OneCycleLR'):
        check_config(cfg)


def test_clipping_by_value_has_a_type():
    cfg = Config.fromfile(ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py')
    cfg.optim_wrapper.clip_grad = dict(type='value', clip_value=1.0)
    check_config(cfg)


def test_the_schedule_follows_the_number_of_epochs(folder):
    arguments = dict(
        config=str(folder / 'short.py'),
        cfg_options={'train_cfg.max_epochs': 10},
        launcher='none',
        local_rank=0,
        work_dir=None,
        no_pin_memory=False,
        hold_out=None,
    )
    cfg = launching.load_config(type('Arguments', (), arguments))
    assert cfg.param_scheduler.total_steps == 10
    arguments['cfg_options'] = {'train_cfg.max_epochs': 3, 'param_scheduler.total_steps': 5}
    cfg = launching.load_config(type('Arguments', (), arguments))
    assert cfg.param_scheduler.total_steps == 5


def test_a_test_needs_nothing_of_training(folder):
    cfg = copy.deepcopy(read(folder / 'short.py'))
    cfg.train_cfg.max_epochs, cfg.optim_wrapper.optimizer.lr = 0, -1
    check_config(cfg, 'test')
    with pytest.raises(ValueError, match=r'optimizer\.lr must be .*\ntrain_cfg\.max_epochs must'):
        check_config(cfg)
    cfg.test_dataloader.batch_size = 0
    with pytest.raises(ValueError, match=r'^test_dataloader\.batch_size must be'):
        check_config(cfg, 'test')


def test_what_an_error_says():
    nested = TypeError(
        'class `LogitDistiller` in aekt_mm/models/distillers/logit_distiller.py: class `AEKTLoss` '
        'in aekt_mm/models/losses/aekt_loss.py: AEKTLoss.__init__() got an unexpected keyword '
        "argument 'betta'"
    )
    assert explain(nested) == "AEKTLoss: got an unexpected keyword argument 'betta'"
    worker = ValueError(
        'Caught ValueError in DataLoader worker process 0.\nOriginal Traceback:\n  File "x"\n'
        'ValueError: image 3 is damaged\n'
    )
    assert explain(worker) == 'image 3 is damaged'
    with pytest.raises(RuntimeError) as stacking:
        default_collate([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)])
    assert explain(stacking.value).startswith(
        'the images of a batch must be of one size, but one is [3, 8, 8] and another [3, 8, 9]: let'
    )
    try:
        raise AssertionError
    except AssertionError as error:
        assert re.match(r'AssertionError in test_mistakes\.py, line \d+ ', explain(error))
