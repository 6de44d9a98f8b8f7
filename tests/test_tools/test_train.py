"""Runs of the tools as a user starts them, on the digits recipes."""

import json
import shutil
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS, MODELS

from aekt_mm.engine.launching import build_runner
from aekt_mm.models import OnlineTeacher
from aekt_mm.models.checkpoints import load_restricted
from aekt_mm.models.classifiers import build_classifier

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
AEKT = ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'

#: What a user may have in a file of their own: a student without batch statistics, and a hook.
PLUGIN = """
import json
from pathlib import Path

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS, MODELS
from torch import nn


@MODELS.register_module()
class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Tanh())

    def forward(self, inputs):
        return (super().forward(inputs),)


@HOOKS.register_module()
class Wrapped(Hook):
    def before_train(self, runner):
        model = runner.model
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        Path(runner.work_dir, f'rank{runner.rank}.json').write_text(json.dumps(dict(
            wrapper=type(model).__name__,
            parameters=names,
            all=[name for name, _ in model.named_parameters()],
        )))
"""


@pytest.fixture(scope='module')
def recipes(tmp_path_factory):
    """Recipes of a user's own over the digits recipe: two epochs, a small teacher, a warm-up."""
    pytest.importorskip('sklearn')
    folder = tmp_path_factory.mktemp('recipes')
    network = Config.fromfile(AEKT).model.teacher.model
    network.backbone.depth = 8
    torch.manual_seed(1)
    teacher, _ = build_classifier(network.copy())
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(teacher.state_dict(), folder / 'teacher.pth')
    text = f"""
_base_ = {str(AEKT)!r}

model = dict(
    teacher=dict(model=dict(backbone=dict(depth=8)), checkpoint={str(folder / 'teacher.pth')!r})
)
custom_hooks = [dict(type='DistillWarmupHook', epochs=3)]
param_scheduler = dict(total_steps=2)
train_cfg = dict(max_epochs=2, val_interval=1)
default_hooks = dict(logger=dict(interval=10))
"""
    (folder / 'short.py').write_text(text)
    (folder / 'plugin.py').write_text(PLUGIN)
    (folder / 'plain.py').write_text("""
_base_ = './short.py'

custom_imports = dict(imports=['aekt_mm', 'plugin'], allow_failed_imports=False)
custom_hooks = [dict(type='Wrapped')]
model = dict(
    student=dict(backbone=dict(_delete_=True, type='Plain'), head=dict(in_channels=16)),
    connector=dict(init='default'),
)
data_preprocessor = dict(crop_padding=1)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1.0)
train_cfg = dict(max_epochs=1)
train_dataloader = dict(batch_size=128, dataset=dict(split='train'))
val_cfg = None
val_dataloader = None
val_evaluator = None
""")
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """As in the processes that are started here: rounding differs with the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def trained(recipes, run):
    """The short recipe, trained through the command line."""
    work_dir = recipes / 'trained'
    output = run(
        sys.executable, 'tools/train.py', recipes / 'short.py', '--work-dir', work_dir, '--seed', 5
    )
    return SimpleNamespace(work_dir=work_dir, output=output)


def scalars(work_dir):
    """What was logged, in order."""
    file = max(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in file.read_text().splitlines()]


def equal(a, b, place=''):
    """Compare nested states bit for bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            equal(a[key], b[key], f'{place}.{key}')
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for index, (x, y) in enumerate(zip(a, b)):
            equal(x, y, f'{place}.{index}')
    else:
        assert a == b, place


def is_log_alone(output):
    """Whether it begins with the run's log, with no warning of the stack's before or in it."""
    noise = ('Warning: ', 'FileClient', 'HardDiskBackend', 'OneDL')
    return output[:50].split(' - ')[1:3] == ['mmengine', 'INFO'] and not any(
        text in output for text in noise
    )


def test_says_nothing_of_the_stack(trained):
    assert is_log_alone(trained.output)


def test_trains_and_saves_student_and_connector_alone(trained):
    log = scalars(trained.work_dir)
    losses = [entry for entry in log if 'loss' in entry]
    assert losses[-1]['loss'] < losses[0]['loss']
    parts = ('loss_ce', 'aekt.loss_explicit', 'aekt.loss_implicit', 'aekt.confidence_ratio')
    assert all(part in losses[0] for part in parts)
    assert [entry['accuracy/top1'] > 10 for entry in log if 'accuracy/top1' in entry] == [True] * 2

    saved = load_restricted(trained.work_dir / 'epoch_2.pth')
    assert {name.split('.')[0] for name in saved['state_dict']} == {'student', 'connector'}
    optimized = [p for group in saved['optimizer']['param_groups'] for p in group['params']]
    # of the slim resnet8 and the connector: without statistics, which are no parameters
    trainable = [n for n in saved['state_dict'] if 'running' not in n and 'num_batches' not in n]
    assert len(optimized) == len(trainable)


@pytest.mark.parametrize('how', ['auto', 'named'])
def test_resume_continues(how, trained, recipes, tool, capsys):
    work_dir = recipes / f'resumed_{how}'
    work_dir.mkdir()
    point = work_dir / 'epoch_1.pth' if how == 'auto' else trained.work_dir / 'epoch_1.pth'
    if how == 'auto':  # killed while it wrote the second
        shutil.copy(trained.work_dir / 'epoch_1.pth', point)
        half = (trained.work_dir / 'epoch_2.pth').read_bytes()[:9000]
        (work_dir / 'epoch_2.pth').write_bytes(half)
        (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_2.pth'))
    resume = ['--resume'] if how == 'auto' else ['--resume', point]
    arguments = (recipes / 'short.py', '--work-dir', work_dir, '--seed', 5, *resume)
    assert tool('tools/train.py', *arguments) is None
    output = capsys.readouterr().out
    assert 'resumed epoch: 1, iter: 29' in output
    assert ('Passed over' in output) == (how == 'auto')
    whole, resumed = (
        load_restricted(folder / 'epoch_2.pth') for folder in (trained.work_dir, work_dir)
    )
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        equal(whole[part], resumed[part], part)
    # from the first step on: same epoch, learning rate, and losses, whose weight is warming up
    keys = ('epoch', 'iter', 'lr', 'loss', 'aekt.loss_explicit', 'aekt.loss_implicit')
    second = [
        [[entry[key] for key in keys] for entry in scalars(folder) if entry.get('epoch') == 2]
        for folder in (trained.work_dir, work_dir)
    ]
    # the logged mean spans the last 100 iterations, those of before the resume included
    assert second[0] == second[1]
    assert len(second[0]) == 2


def test_test_repeats_the_validation(trained, recipes, tool):
    metrics = recipes / 'metrics.json'
    left = tool(
        *('tools/test.py', recipes / 'short.py', trained.work_dir / 'epoch_2.pth'),
        *('--work-dir', recipes / 'tested', '--out', metrics, '--out-item', 'metrics'),
        # the teacher is not needed
        *('--cfg-options', 'model.teacher.checkpoint=absent.pth'),
    )
    assert left is None
    validated = [e['accuracy/top1'] for e in scalars(trained.work_dir) if 'accuracy/top1' in e]
    assert json.loads(metrics.read_text())['accuracy/top1'] == validated[-1]


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def plugin(recipes, monkeypatch):
    """Where the user's own file is found; what it registers is forgotten."""
    monkeypatch.syspath_prepend(str(recipes))
    yield
    sys.modules.pop('plugin', None)
    MODELS.module_dict.pop('Plain', None)
    HOOKS.module_dict.pop('Wrapped', None)


@pytest.mark.usefixtures('plugin')
def test_two_ranks_take_the_step_of_one(recipes, run, tool):
    """Eight steps, of 128 images and the last of 2: half of them each."""
    one, two = recipes / 'one', recipes / 'two'
    command = [recipes / 'plain.py', '--seed', '7', '--work-dir']
    assert tool('tools/train.py', *command, one) is None
    output = run(
        *('bash', 'tools/dist_train.sh', command[0], '2', *command[1:], two),
        *('--cfg-options', 'train_dataloader.batch_size=64'),
        PYTHONPATH=str(recipes),
        PORT=free_port(),
    )
    assert 'Distributed launcher: pytorch' in output
    assert is_log_alone(output)
    a, b = (load_restricted(folder / 'epoch_1.pth')['state_dict'] for folder in (one, two))
    for name in a:
        torch.testing.assert_close(b[name], a[name], atol=1e-6, rtol=1e-5, msg=name)

    seen = [json.loads((two / f'rank{rank}.json').read_text()) for rank in (0, 1)]
    assert seen[0] == seen[1]
    assert seen[0]['wrapper'] == 'MMDistributedDataParallel'
    assert sorted(seen[0]['all']) == sorted(f'module.{name}' for name in a)
    assert seen[0]['parameters'] == seen[0]['all']  # the teacher's are not among them


def test_mmpretrains_own_script_trains_our_recipe(recipes, tool, monkeypatch):
    script = Path(find_spec('mmpretrain').origin).parent / '.mim/tools/train.py'
    if not script.exists():
        pytest.skip('mmpretrain is installed without its tools')
    work_dir = recipes / 'mmpretrain'
    monkeypatch.setenv('LOCAL_RANK', '0')  # which the script sets
    options = ('--cfg-options', 'train_cfg.max_epochs=1')
    assert tool(str(script), recipes / 'short.py', '--work-dir', work_dir, *options) is None
    assert (work_dir / 'epoch_1.pth').exists()
    assert any('aekt.loss_implicit' in entry for entry in scalars(work_dir))


def test_mmengines_runner_trains_our_recipe(recipes, run):
    """In a process that imports nothing but MMEngine: the recipe brings what it needs."""
    code = (
        'import sys\n'
        'from mmengine.config import Config\n'
        'from mmengine.runner import Runner\n'
        'cfg = Config.fromfile(sys.argv[1])\n'
        'cfg.work_dir, cfg.train_cfg.max_epochs = sys.argv[2], 1\n'
        'Runner.from_cfg(cfg).train()\n'
    )
    run(sys.executable, '-c', code, recipes / 'short.py', recipes / 'mmengine')
    state = load_restricted(recipes / 'mmengine/epoch_1.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())


class Untouched(Hook):
    """Keep a copy of the teacher from before the first step."""

    def before_train(self, runner):
        teacher = runner.model.teacher
        self.before = {name: value.clone() for name, value in teacher.state_dict().items()}
        assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_teacher_is_untouched(recipes):
    cfg = Config.fromfile(recipes / 'short.py')
    cfg.work_dir = str(recipes / 'untouched')
    cfg.experiment_name = 'untouched'
    # a module that is given is left whole: with its batch norms, whose statistics could move
    network, _ = build_classifier(cfg.model.teacher.model.copy())
    network.load_state_dict(torch.load(recipes / 'teacher.pth'))
    runner = build_runner(cfg)
    teacher = OnlineTeacher(network, checkpoint=None)
    runner.model.__dict__['teacher'] = teacher
    hook = Untouched()
    runner.register_hook(hook)
    runner.train()
    assert runner.model.teacher is teacher
    assert not any(module.training for module in teacher.modules())
    assert any('running_mean' in name for name in hook.before)
    assert teacher.state_dict().keys() == hook.before.keys()
    for name, value in teacher.state_dict().items():
        assert value.equal(hook.before[name]), name
    mine = {id(parameter) for parameter in teacher.parameters()}
    groups = runner.optim_wrapper.param_groups
    assert not mine & {id(parameter) for group in groups for parameter in group['params']}
    assert not mine & {id(parameter) for parameter in runner.model.parameters()}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('absent.py',), 'train: there is no config absent.py'),
        ((AEKT, '--cfg-options', 'model.loses.aekt.beta=2'), 'did you mean losses?'),
        (
            (AEKT, '--cfg-options', 'model.teacher.checkpoint=absent.pth'),
            'looked for in absent.pth',
        ),
        ((AEKT, '--resume', 'absent.pth'), 'there is no checkpoint absent.pth'),
        (
            (ROOT / 'configs/vanilla/vanilla_r18_imagenet.py',),
            'train: ImageNet was looked for in data/imagenet, which is not there',
        ),
        (
            (ROOT / 'configs/vanilla/vanilla_resnet8_cifar100.py',),
            'train: CIFAR100Arrays was looked for in data/cifar100, which is not there',
        ),
        (
            (ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py', '--cached-teacher', 'cache'),
            'train: --cached-teacher: the model of this recipe has no teacher',
        ),
    ],
)
def test_errors_of_train_are_one_clear_line(arguments, message, tmp_path, monkeypatch, tool):
    monkeypatch.chdir(tmp_path)
    if '--resume' in map(str, arguments):
        (tmp_path / 'work_dirs/vanilla_resnet20_digits').mkdir(parents=True)
        (tmp_path / 'work_dirs/vanilla_resnet20_digits/epoch_20.pth').touch()
    left = tool('tools/train.py', *arguments)
    assert message in left
    assert '\n' not in left
    assert not list(tmp_path.glob('work_dirs/*/20*'))  # nothing was started


def test_errors_of_test_and_publish(tmp_path, monkeypatch, tool):
    monkeypatch.chdir(tmp_path)
    assert tool('tools/test.py', AEKT, 'absent.pth', '--work-dir', tmp_path) == (
        'test: there is no checkpoint absent.pth'
    )
    assert tool('tools/test.py', AEKT, 'x.pth', '--out', 'scores.json').startswith(
        'test: --out scores.json: --out-item pred is written as .pkl'
    )
    assert tool('tools/publish_student.py', AEKT, 'absent.pth', 'student') == (
        'publish_student: there is no checkpoint absent.pth'
    )


def test_an_unknown_option_of_a_component_is_named(recipes):
    cfg = Config.fromfile(recipes / 'short.py')
    cfg.work_dir = str(recipes / 'unknown')
    cfg.model.losses.aekt.betta = 3.0
    with pytest.raises(TypeError, match=r"AEKTLoss.* unexpected keyword argument 'betta'"):
        build_runner(cfg)
