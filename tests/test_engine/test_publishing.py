"""Students predict as the distiller does, where this package is not installed."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmpretrain.models import GlobalAveragePooling
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from aekt_mm.engine import onnx_export, publishing
from aekt_mm.engine.model_card import model_card
from aekt_mm.engine.publishing import publish_student
from aekt_mm.models import OnlineTeacher, backbones
from aekt_mm.models.checkpoints import load_restricted, save_weights
from aekt_mm.models.classifiers import build_classifier
from aekt_mm.registry import DATASETS, MODELS, build
from aekt_mm.structures import BatchSample

pytestmark = pytest.mark.stack

RECIPE = Path(__file__).parents[2] / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'
RESNET18 = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
ORDERS = ('distill_then_classify', 'classify_then_distill')


PREPROCESSOR = dict(mean=[110.0, 120.0, 130.0], std=[50.0, 60.0, 70.0], to_rgb=True)


def vision_transformer(backbone, head):
    arch = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=24)
    return dict(
        type='ImageClassifier',
        backbone=dict(type=backbone, arch=arch, img_size=32, patch_size=16),
        head=dict(type=head, num_classes=10, in_channels=24, init_cfg=None),
        data_preprocessor=PREPROCESSOR,
    )


#: Leaves tables out of what it loads.
SWIN = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SwinTransformerV2',
        arch=dict(embed_dims=8, depths=[1] * 4, num_heads=[1] * 4, extra_norm_every_n_blocks=0),
        img_size=32,
        patch_size=2,
        window_size=[8, 8, 4, 2],
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, init_cfg=None),
    data_preprocessor=PREPROCESSOR,
)

#: Makes tables anew for images of another size.
EVA = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ViTEVA02',
        arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=24),
        img_size=64,
        patch_size=16,
        final_norm=False,
        out_type='avg_featmap',
    ),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=24, init_cfg=None),
    data_preprocessor=PREPROCESSOR,
)

#: Takes a prefix off the names of its weights, but only where it is the whole model.
TIMM = dict(
    type='TimmClassifier',
    model_name='test_resnet',
    num_classes=10,
    data_preprocessor=PREPROCESSOR,
)


def cases():
    recipe = Config.fromfile(RECIPE)
    students = {
        'digits': recipe.model.student,
        'resnet18': RESNET18,
        'vit': vision_transformer('VisionTransformer', 'VisionTransformerClsHead'),
        'deit': vision_transformer('DistilledVisionTransformer', 'DeiTClsHead'),
        'swin': SWIN,
        'eva': EVA,
        'timm': TIMM,
    }
    for name, student in students.items():
        for order in ORDERS if name in ('digits', 'resnet18') else ORDERS[:1]:
            yield f'{name}-{order}', student, dict(type='TaskSerializationFC', order=order)
    # as in a config that inherits from an installed recipe
    scoped = dict(recipe.model.student, _scope_='aekt_mm')
    yield 'digits-scoped', scoped, dict(type='aekt_mm.TaskSerializationFC')
    yield 'digits-no_connector', recipe.model.student, None
    yield 'digits-vanilla', recipe.model.student, 'vanilla'


def write_recipe(folder, student, connector):
    """Write a run's recipe and its checkpoint with weights that are nowhere trivial."""
    base = Config.fromfile(RECIPE)
    cfg = Config(dict(default_scope='aekt_mm', test_pipeline=base.test_pipeline))
    if 'CIFARResNet' in str(student):  # the others bring their own
        cfg.data_preprocessor = base.data_preprocessor
    if connector == 'vanilla':
        cfg.model = student
    else:
        cfg.model = dict(base.model, student=student, connector=connector, teacher=None)
    cfg.dump(folder / 'recipe.py')
    spec = cfg.model.copy()
    if 'data_preprocessor' in cfg:
        spec.data_preprocessor = cfg.data_preprocessor
    model = build(MODELS, spec).eval()
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    if hasattr(getattr(model, 'connector', None), 'fc'):
        nn.init.normal_(model.connector.fc.weight, std=0.3)
        nn.init.normal_(model.connector.fc.bias)
    meta = dict(dataset_meta=dict(classes=list('abcdefghij')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'epoch_1.pth')
    return model


SCRIPT = """
import json, sys
from pathlib import Path

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'aekt_mm':
            raise ImportError('aekt_mm is not installed here')

sys.meta_path.insert(0, Block())
import cv2, torch
from mmpretrain import ImageClassificationInferencer, get_model

for folder in sorted(Path(sys.argv[1]).iterdir()):
    files = str(folder / 'student.py'), str(folder / 'student.pth')
    model = get_model(files[0], pretrained=files[1])
    images = torch.load(folder / 'images.pth')
    torch.save(model(images), folder / 'logits.pth')
    bgr = [torch.from_numpy(cv2.imread(str(folder / 'image.png'))).permute(2, 0, 1)]
    sample = model.test_step(dict(inputs=bgr))[0]
    torch.save(sample.pred_score, folder / 'scores.pth')
    if folder.name == 'digits-distill_then_classify':
        result = ImageClassificationInferencer(files[0], pretrained=files[1], device='cpu')(
            str(folder / 'image.png'))[0]
        (folder / 'inferred.json').write_text(json.dumps(
            [result['pred_class'], [float(score) for score in result['pred_scores']]]))
assert 'aekt_mm' not in sys.modules
"""


@pytest.fixture(scope='module')
def published(tmp_path_factory, run):
    """Publish every case, and let one process without this package load and try them all."""
    pytest.importorskip('sklearn')
    root, runs = tmp_path_factory.mktemp('published'), tmp_path_factory.mktemp('runs')
    generator = np.random.default_rng(0)
    found = {}
    for name, student, connector in cases():
        (runs / name).mkdir()
        model = write_recipe(runs / name, student, connector)
        with pytest.MonkeyPatch.context() as patch:  # one process loads them all, below
            patch.setattr(publishing, '_load_alone', lambda *_: None)
            written = publish_student(
                runs / name / 'recipe.py', runs / name / 'epoch_1.pth', root / name
            )
        side = 8 if name.startswith('digits') else 32
        images = torch.from_numpy(generator.normal(size=(5, 3, side, side))).float()
        torch.save(images, root / name / 'images.pth')
        rgb = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        cv2.imwrite(str(root / name / 'image.png'), rgb[:, :, ::-1])
        found[name] = SimpleNamespace(
            model=model, images=images, rgb=rgb, folder=root / name, written=written
        )
    run(sys.executable, '-c', SCRIPT, root)
    return found


NAMES = [name for name, *_ in cases()]


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_predicts_what_the_distiller_predicts(name, published):
    case = published[name]
    expected, logits = case.model(case.images), torch.load(case.folder / 'logits.pth')
    assert expected.std() > 0.01
    if 'distill_then_classify' in name or 'scoped' in name:  # folded: the same up to rounding
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(case.model.student(case.images), expected, atol=1e-2)
    else:
        assert logits.equal(expected)


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_reads_an_image_as_the_distiller_did(name, published):
    case = published[name]
    if name.startswith('digits'):  # trained on arrays in RGB
        image = torch.from_numpy(case.rgb)[None]
        batch = dict(inputs=image, data_samples=BatchSample(gt_label=torch.zeros(1).long()))
    else:  # on files that mmcv read as BGR
        image = torch.from_numpy(case.rgb[:, :, ::-1].copy()).permute(2, 0, 1)
        batch = dict(inputs=[image])
    expected = case.model(case.model.data_preprocessor(batch)['inputs']).softmax(1)[0]
    scores = torch.load(case.folder / 'scores.pth')
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)


def test_mmpretrains_inferencer_takes_it(published):
    folder = published['digits-distill_then_classify'].folder
    label, scores = json.loads((folder / 'inferred.json').read_text())
    expected = torch.load(folder / 'scores.pth')
    torch.testing.assert_close(torch.tensor(scores), expected)
    assert label == 'abcdefghij'[expected.argmax()]  # the classes' names come along


@pytest.mark.parametrize('name', NAMES)
def test_nothing_but_the_student_is_written(name, published):
    case = published[name]
    ours = name.startswith('digits')
    files = {'student.py', 'student.pth', 'README.md', *(['cifar_resnet.py'] if ours else [])}
    assert {path.name for path in case.written} == files
    assert {path.name for path in case.folder.iterdir() if path.suffix == '.partial'} == set()
    assert 'aekt' not in (case.folder / 'student.py').read_text().replace('aekt_mm is', '')
    student = getattr(case.model, 'student', case.model)
    saved = torch.load(case.folder / 'student.pth')['state_dict']
    assert saved.keys() == student.state_dict().keys()


def small_student():
    return dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=8),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
    )


class Unfoldable(nn.Module):
    """A connector that is no linear map."""

    def __init__(self, num_classes):
        super().__init__()

    def forward(self, logits):
        return logits.tanh(), logits


class WrongFold(Unfoldable):
    """A connector that claims to be one."""

    def fold_into(self, classifier):
        pass


@pytest.mark.parametrize(
    ('connector', 'message'),
    [
        (Unfoldable, r'Unfoldable has no method fold_into\(linear\)'),
        (WrongFold, 'the connector does not fold into the head LinearClsHead: logits differ by'),
    ],
)
def test_what_can_not_be_folded_is_refused(connector, message, tmp_path):
    MODELS.register_module(module=connector)
    try:
        write_recipe(tmp_path, small_student(), dict(type=connector.__name__))
        with pytest.raises(ValueError, match=message):
            publish_student(tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth', tmp_path / 'student')
        assert not (tmp_path / 'student').exists()
    finally:
        MODELS.module_dict.pop(connector.__name__)


def digits_with_data(folder):
    """Write a run's recipe and checkpoint, with the data of the recipe."""
    pytest.importorskip('sklearn')
    model = write_recipe(folder, small_student(), dict(type='TaskSerializationFC'))
    base, cfg = Config.fromfile(RECIPE), Config.fromfile(folder / 'recipe.py')
    cfg.test_dataloader = base.test_dataloader
    cfg.dump(folder / 'recipe.py')
    return model, cfg


@torch.no_grad()
def test_is_compared_on_images_of_the_data(tmp_path, monkeypatch):
    model, cfg = digits_with_data(tmp_path)
    said, tried = [], []
    monkeypatch.setattr(publishing, '_load_alone', lambda *arguments: tried.append(arguments))
    monkeypatch.setattr(publishing, 'print_log', lambda text, *_, **__: said.append(text))
    arguments = tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth', tmp_path / 'student'
    publish_student(*arguments)
    dataset = build(DATASETS, cfg.test_dataloader.dataset)
    batch = dataset.__getitems__(range(8))
    real = model.data_preprocessor(batch)['inputs']
    [(_, _, images, expected)] = tried
    assert images.equal(real)
    assert expected.equal(model(real))
    assert not said

    cfg.test_dataloader.dataset.type = 'CIFAR100Arrays'
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    cfg.dump(tmp_path / 'recipe.py')
    publish_student(*arguments)
    assert not tried[1][2].equal(real)
    assert 'on random images' in said[0]
    assert 'nowhere, which is not there' in said[0]


def test_a_student_that_is_another_is_not_written(tmp_path, monkeypatch):
    digits_with_data(tmp_path)

    def save_another(state, path, **content):
        state = {name: value.clone() for name, value in state.items()}
        state['head.fc.bias'].add_(1)
        save_weights(state, path, **content)

    monkeypatch.setattr(publishing, 'save_weights', save_another)
    message = 'is another where only mmpretrain is, .*: its logits are .* of the largest away from'
    with pytest.raises(ValueError, match=message):
        publish_student(tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth', tmp_path / 'student')
    assert {path.name for path in tmp_path.iterdir()} == {'recipe.py', 'epoch_1.pth'}


@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_nothing_is_downloaded_for_a_student_that_has_its_weights(tmp_path):
    write_recipe(tmp_path, TIMM, None)
    recipe = tmp_path / 'recipe.py'
    cfg = Config.fromfile(recipe)
    cfg.model.student.pretrained = True
    cfg.dump(recipe)
    publish_student(recipe, tmp_path / 'epoch_1.pth', tmp_path / 'student')
    assert Config.fromfile(tmp_path / 'student/student.py').model.pretrained is False


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    write_recipe(tmp_path, small_student(), dict(type='TaskSerializationFC'))
    other, _ = build_classifier(small_student())
    torch.save(dict(state_dict=other.state_dict()), tmp_path / 'other.pth')
    message = r'other\.pth is not a checkpoint of this recipe'
    with pytest.raises(ValueError, match=message):
        publish_student(tmp_path / 'recipe.py', tmp_path / 'other.pth', tmp_path / 'student')
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        publish_student(tmp_path / 'recipe.py', tmp_path / 'absent.pth', tmp_path / 'student')
    with pytest.raises(FileNotFoundError, match=r'absent\.py'):
        publish_student(tmp_path / 'absent.py', tmp_path / 'other.pth', tmp_path / 'student')


@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_publishes_again_where_a_published_student_was_loaded(tmp_path):
    """Loading it registers its own copy of the backbone, in the place of the package's."""
    write_recipe(tmp_path, small_student(), 'vanilla')
    arguments = tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth'
    first = publish_student(*arguments, tmp_path / 'first')
    Config.fromfile(tmp_path / 'first' / 'student.py')
    assert MODELS.get('CIFARResNet') is not backbones.CIFARResNet
    again = publish_student(*arguments, tmp_path / 'again')
    assert [path.name for path in again] == [path.name for path in first]
    assert again[1].read_text() == first[1].read_text()


#: A backbone of a user's own: a block from one file and a helper from another.
OWN = {
    'own_project/blocks.py': """
from torch import nn

from own_project.helpers import activation


class Block(nn.Sequential):
    def __init__(self, before, after):
        super().__init__(nn.Conv2d(before, after, 3, padding=1), activation())
""",
    'own_project/net.py': """
from mmpretrain.registry import MODELS
from torch import nn

from .blocks import Block


@MODELS.register_module()
class OwnNet(nn.Sequential):
    def __init__(self):
        super().__init__(Block(3, 8), Block(8, 16))

    def forward(self, images):
        return (super().forward(images),)
""",
    'own_project/helpers.py': """
from torch import nn


def activation():
    return nn.ReLU()
""",
    # all in one file
    'own_net.py': """
from mmpretrain.registry import MODELS
from torch import nn


@MODELS.register_module()
class LoneNet(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3), nn.ReLU())

    def forward(self, images):
        return (super().forward(images),)
""",
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's folder with a backbone; what it registers is forgotten at the end."""
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split('.')[0].startswith('own_')]:
        del sys.modules[name]
    for name in ('OwnNet', 'LoneNet'):
        MMPRETRAIN_MODELS.module_dict.pop(name, None)


def own_recipe(folder, module, backbone):
    import_module(module)
    student = dict(small_student(), backbone=dict(type=backbone))
    student['head']['in_channels'] = 16
    model = write_recipe(folder, student, dict(type='TaskSerializationFC'))
    recipe = folder / 'recipe.py'
    imports = f"custom_imports = dict(imports=['aekt_mm', {module!r}])\n"
    preprocessor = dict(type='BatchPreprocessor', mean=[100.0, 120.0, 140.0], std=[60.0] * 3)
    recipe.write_text(f'{imports}data_preprocessor = {preprocessor}\n{recipe.read_text()}')
    return model


@torch.no_grad()
def test_a_backbone_of_ones_own_comes_along(own):
    model = own_recipe(own, 'own_net', 'LoneNet')
    written = publish_student(own / 'recipe.py', own / 'epoch_1.pth', own / 'out')
    files = ['student.pth', 'student.py', 'own_net.py', 'README.md']
    assert [path.name for path in written] == files
    assert (own / 'out/own_net.py').read_text() == OWN['own_net.py']
    assert not list(own.glob('.student_*'))

    # and it teaches the next student, beside the file that it came from
    teacher = OnlineTeacher(str(own / 'out/student.py'), own / 'out/student.pth')
    preprocessor = build(MODELS, Config.fromfile(own / 'recipe.py').data_preprocessor)
    teacher.attach(None, preprocessor)
    images = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(teacher(images), model(images), rtol=1e-4, atol=1e-4)


def test_what_does_not_load_alone_is_refused(own):
    own_recipe(own, 'own_project.net', 'OwnNet')
    arguments = own / 'recipe.py', own / 'epoch_1.pth', own / 'out'
    definitions = publishing._definitions(MODELS.get('OwnNet')())
    assert definitions == {
        'own_project.net': own / 'own_project/net.py',
        'own_project.blocks': own / 'own_project/blocks.py',
    }
    with pytest.raises(ValueError, match=r"Error: No module named 'own_project\.helpers'"):
        publish_student(*arguments)
    assert not (own / 'out').exists()
    assert not list(own.glob('.student_*'))


def test_images_of_a_published_student_are_files(tmp_path):
    """What data it was trained on decides whether they are swapped."""
    for pipeline, to_rgb, expected in (
        ([dict(type='PackInputs')], False, True),  # arrays in RGB
        ([dict(type='LoadImageFromFile'), dict(type='PackInputs')], True, True),
        ([dict(type='LoadImageFromFile'), dict(type='PackInputs')], False, False),  # as they are
    ):
        preprocessor = dict(mean=[9.0] * 3, std=[2.0] * 3, to_rgb=to_rgb)
        dataset = dict(type='CustomDataset', pipeline=pipeline)
        cfg = Config(dict(model=dict(small_student(), data_preprocessor=preprocessor)))
        cfg.train_dataloader = dict(dataset=dict(type='ViewDataset', dataset=dataset))
        plain = publishing._plain_config(cfg)
        assert plain.model.data_preprocessor.to_rgb is expected


@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_what_only_training_needs_is_gone(tmp_path):
    """Projections of features, and a temperature that learned."""
    cfg = Config.fromfile(RECIPE)
    hint = dict(student='backbone.layer3', teacher='backbone.layer3', loss=dict(type='FitNetLoss'))
    cfg.model.features = dict(hint=hint)
    cfg.model.losses.aekt.temperature = dict(type='CurriculumTemperature')
    cfg.model.teacher.checkpoint = None
    cfg.dump(tmp_path / 'recipe.py')
    model = build(MODELS, dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    state = model.state_dict()
    assert {name.split('.')[0] for name in state} == {
        *('student', 'connector', 'features', 'losses')
    }
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'epoch_1.pth')
    publish_student(tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth', tmp_path / 'student')
    saved = torch.load(tmp_path / 'student' / 'student.pth', weights_only=True)['state_dict']
    assert {name.split('.')[0] for name in saved} == {'backbone', 'head'}
    assert 'FitNet' not in (tmp_path / 'student' / 'student.py').read_text()


@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_weights_in_safetensors(tmp_path):
    write_recipe(tmp_path, small_student(), dict(type='TaskSerializationFC'))
    folder = tmp_path / 'student'
    files = publish_student(tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth', folder, True)
    assert files[-1] == folder / 'student.safetensors'
    expected = load_restricted(folder / 'student.pth')['state_dict']
    found = load_restricted(files[-1])['state_dict']
    assert found.keys() == expected.keys()
    assert all(value.equal(found[name]) for name, value in expected.items())


def test_the_card_says_what_is_known_and_no_more(tmp_path):
    published, saved = tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth'
    write_recipe(tmp_path, small_student(), dict(type='TaskSerializationFC'))
    cfg, checkpoint = Config.fromfile(published), load_restricted(saved)
    plain = Config(dict(model=dict(data_preprocessor=dict(to_rgb=True)), test_dataloader=dict()))
    plain.test_dataloader.dataset = dict(pipeline=[dict(type='CenterCrop', crop_size=224)])
    silent = model_card(cfg, plain, 1234, checkpoint.get('meta', {}), saved, onnx=False)
    assert 'top-1' not in silent
    assert 'licen' not in silent
    assert '| images | RGB, 224×224 pixels |' in silent
    assert '| parameters | 1,234 |' in silent
    assert 'TaskSerializationFC(' in silent
    assert 'onnx' not in silent
    front = yaml.safe_load(silent.split('---')[1])
    assert front['library_name'] == 'mmpretrain'

    entries = [
        dict(epoch=1, step=29, teacher_top1=97.5),
        {'accuracy/top1': 81.25, 'step': 1},
        {'accuracy/top1': 99.0, 'step': 2},
    ]
    log = tmp_path / '20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(map(json.dumps, entries)) + '\n{"accu')
    meta = dict(epoch=1, cfg="type='aekt_mm.HeldOut'", dataset_meta=dict(classes=['cat', 'dog']))
    card = model_card(cfg, plain, 1234, meta, saved, onnx=True)
    assert '| top-1, held-out part of the training set | 81.25 %, after epoch 1 |' in card
    assert 'right on 97.50 %' in card
    assert '| classes | 2: cat, dog |' in card
    assert "InferenceSession('student.onnx')" in card


class Shifted(nn.Module):
    """Logits that are the small difference of large numbers."""

    def __init__(self, shift):
        super().__init__()
        self.fc, self.shift = nn.Linear(12, 5), shift

    def forward(self, images):
        return self.fc(images.flatten(1)) + self.shift - self.shift


def test_what_is_rounding_depends_on_what_float32_holds():
    images = torch.randn(4, 3, 2, 2)
    assert onnx_export.rounding(Shifted(0.0), images) < 3e-5
    # a number near 1e4 is rounded by up to half of 2**-10
    assert 5e-4 < onnx_export.rounding(Shifted(1e4), images) <= 4 * 2**-11


@pytest.mark.slow
@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_onnx_is_what_the_student_is_or_nothing_is_written(tmp_path, monkeypatch):
    runtime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    pytest.importorskip('onnxscript', reason='onnxscript is not installed')
    model = write_recipe(tmp_path, small_student(), dict(type='TaskSerializationFC'))
    arguments = tmp_path / 'recipe.py', tmp_path / 'epoch_1.pth'
    *_, file = publish_student(*arguments, tmp_path / 'out', onnx=True)
    assert file.name == 'student.onnx'
    session = runtime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    for count in (1, 7):
        images = torch.randn(count, 3, 8, 8)
        found = session.run(['logits'], {'images': images.numpy()})[0]
        expected = model(images).detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)

    whole = file.read_bytes()
    assert not any(trace in whole for trace in (b'aekt', b'File "', b'.py', b'pkg.torch'))

    monkeypatch.setattr(onnx_export, 'rounding', lambda *_: -1)
    with pytest.raises(ValueError, match='ONNX Runtime computes other logits than the student'):
        publish_student(*arguments, tmp_path / 'other', onnx=True)
    assert not (tmp_path / 'other').exists()
    monkeypatch.setattr(onnx_export, 'find_spec', lambda name: None if name == 'onnx' else name)
    with pytest.raises(ValueError, match='--onnx needs onnx, which is not installed: pip install'):
        publish_student(*arguments, tmp_path / 'other', onnx=True)


def test_classes_as_types_go_by_their_names():
    """As a config in pure Python has them."""
    assert publishing._unscoped(dict(neck=dict(type=GlobalAveragePooling))) == dict(
        neck=dict(type='GlobalAveragePooling')
    )
