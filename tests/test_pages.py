"""README.md and docs: built without a warning, links that lead somewhere, snippets that work."""

import re
import sys
from importlib import import_module
from pathlib import Path

import mmengine
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope, init_default_scope

from aekt_mm.analysis.study_file import read_study
from aekt_mm.engine.config_check import check_config
from aekt_mm.engine.launching import override
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.models.distillers import LogitDistiller
from aekt_mm.models.teachers import OnlineTeacher
from aekt_mm.models.weights import load_weights
from aekt_mm.registry import MODELS, build

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs' / 'en'
CONTRIBUTING = ROOT / 'CONTRIBUTING.md'
PAGES = [
    ROOT / 'README.md',
    CONTRIBUTING,
    *sorted(DOCS.rglob('*.md')),
    *sorted(ROOT.glob('configs/*/README.md')),
]
NAMELESS = re.compile(r'\w*(?:NAME|STUDENT)\w*(?:\.\w+)?')  # files that are still to be written
FENCED = re.compile(r'^```(\w+)\n(.*?)^```', re.MULTILINE | re.DOTALL)

#: Pages whose snippets another test writes to files and runs.
RUN_ELSEWHERE = {
    'own_data.md': 'tests/test_own_data.py',
    'images.md': 'tests/test_docs.py',
    'views.md': 'tests/test_docs.py',
}


def prose(page):
    """A page without its code."""
    text = FENCED.sub('', page.read_text(encoding='utf-8'))
    return re.sub(r'`[^`\n]*`', '', text)


def anchors(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = FENCED.sub('', page.read_text(encoding='utf-8'))
    headings = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_every_link_within_the_repository_leads_somewhere():
    broken, checked = [], 0
    for page in PAGES:
        for target in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
            if re.match(r'\w+:', target):  # elsewhere: sphinx-build -b linkcheck, by hand
                continue
            path, _, anchor = target.partition('#')
            file = (page.parent / path).resolve() if path else page
            checked += 1
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f'{page.relative_to(ROOT)}: {target}')
    assert not broken
    assert checked > 60


def test_paths_of_the_repository_that_pages_name_are_there():
    named = re.compile(
        r'(?:tools|configs|tests|requirements)/[\w./-]+\.(?:py|sh|txt|yml|yaml|csv)\b'
    )
    missing = {
        f'{page.relative_to(ROOT)}: {path}'
        for page in PAGES
        for path in named.findall(page.read_text(encoding='utf-8'))
        if not (ROOT / path).exists() and page.parent.name != 'extending'
    }
    # of other projects
    others = ('tools/eval.py', 'configs/METHOD', 'configs/cifar100/dkd')
    missing = {line for line in missing if not NAMELESS.search(line.partition(': ')[2])}
    assert not {line for line in missing if not any(other in line for other in others)}


def test_contributors_are_told_of_what_there_is():
    text = CONTRIBUTING.read_text(encoding='utf-8')
    named = re.findall(r'`((?:aekt_mm|configs|docs|tests|tools)(?:/[\w.]+)*/?)`', text)
    assert len(named) > 30
    places = [re.sub(NAMELESS, '', path) for path in named]  # a new file's folder
    assert not [path for path in places if not (ROOT / path).exists()]
    packages = {path.parent.relative_to(ROOT) for path in ROOT.glob('aekt_mm/*/*.py')}
    assert packages <= {Path(*Path(path).parts[:2]) for path in named}
    # its examples are those of the files named before them
    for path, example in re.findall(r'\(`(aekt_mm/[\w/.]+)`\):\n\n```python\n(.*?)```', text, re.S):
        lines = [line.strip() for line in example.splitlines()]
        source = [line.strip() for line in (ROOT / path).read_text(encoding='utf-8').splitlines()]
        assert '\n'.join(lines) in '\n'.join(source)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::PendingDeprecationWarning')  # of extensions, for Sphinx 11
def test_sphinx_builds_without_a_warning(tmp_path, capsys):
    for package in ('sphinx', 'myst_parser', 'furo'):
        pytest.importorskip(package)
    from sphinx.cmd.build import build_main

    arguments = ['-W', '--keep-going', '-n', '-q', '-d', str(tmp_path / 'doctrees')]
    code = build_main([*arguments, str(DOCS), str(tmp_path / 'html')])
    assert code == 0, capsys.readouterr().err[-4000:]

    # docstrings are found: each public name of the documented packages, with what it says
    html = (tmp_path / 'html' / 'api.html').read_text(encoding='utf-8')
    for package in re.findall(r'automodule:: (\S+)', (DOCS / 'api.md').read_text()):
        module = import_module(package)
        for name in getattr(module, '__all__', ()):
            assert f'{package}.{name}"' in html or name.isupper(), f'{package}.{name}'
    assert 'A frozen network that maps the student' in html  # of OnlineTeacher


def snippets(page):
    return [
        (language, text)
        for language, text in FENCED.findall(page.read_text(encoding='utf-8'))
        if language in ('python', 'yaml')
    ]


def named(page):
    """A page's files by name."""
    heads = ((re.match(r'# (\S+\.\w+)\b.*\n', text), text) for _, text in snippets(page))
    return {head[1]: text for head, text in heads if head}


def configs():
    for page in PAGES:
        tried_there = page.name in RUN_ELSEWHERE or page.parent.name == 'extending'
        for name in () if tried_there else named(page):
            yield pytest.param(page, name, id=f'{page.stem}-{name}')


def test_every_snippet_is_tried():
    """A snippet is a file by its first line, and read and built below, or tried as said here."""
    alone = {
        'CONTRIBUTING.md': 2 * ['of a file that it names: see below'],
        'get_started.md': ['in any training loop', 'of a published student: test_publishing.py'],
        'images.md': ['of another package', 'one line of a config'],
        'own_data.md': ['run by test_own_data.py'],
        'teachers.md': ['of a published file'],
        'views.md': ['test_cached_teacher.py'],
    }
    for page in PAGES:
        count = len(snippets(page)) - len(named(page))
        assert count == len(alone.get(page.name, [])), page


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a user's own, with the files that pages take for granted."""
    network = (
        'from torch import nn\n'
        'def resnet56(num_classes=10):\n'
        '    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()\n'
        '    return nn.Sequential(*pooled, nn.Linear(3, num_classes))\n'
    )
    for name in ('their_networks.py', 'their_resnet.py'):
        (tmp_path / name).write_text(network)
    for name, text in named(DOCS / 'own_data.md').items():
        if name in ('data.py', 'pair.py'):
            (tmp_path / f'my_{name}').write_text(text)
            (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    DefaultScope._instance_dict.clear()
    for name in ('their_networks', 'their_resnet'):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(('page', 'name'), configs())
def test_a_config_is_read_and_built(page, name, folder, monkeypatch):
    """Without weights: what matters is that every part is found and takes its options."""
    (folder / name).write_text(named(page)[name])
    if 'arms:' in named(page)[name]:
        arms = {}
        for trial in read_study(folder / name).trials:
            arms.setdefault(trial.arm, trial)
        for trial in arms.values():
            override(load_recipe(trial.recipe), trial.options)
        return
    if "_base_ = 'mmpretrain::" in named(page)[name] and mmengine.__version__ == '0.10.7':
        pytest.importorskip('pkg_resources', reason='mmengine 0.10.7 needs setuptools<81')
    cfg = load_recipe(folder / name)
    monkeypatch.setattr('aekt_mm.engine.config_check._only_cpu', lambda: False)
    check_config(cfg)
    init_default_scope(cfg.get('default_scope', 'aekt_mm'))
    model = ConfigDict(cfg.model)
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    model.teacher.checkpoint = None
    # neither a trial nor random weights are needed here
    monkeypatch.setattr(OnlineTeacher, '_fold', lambda self: None)
    monkeypatch.setattr(BaseModule, 'init_weights', lambda self: None)
    distiller = build(MODELS, model)
    assert isinstance(distiller, LogitDistiller)


def test_the_losses_in_any_training_loop():
    text = next(text for _, text in snippets(DOCS / 'get_started.md') if 'cross_entropy +' in text)
    logits = torch.randn(4, 10, requires_grad=True)
    scope = dict(
        student_logits=logits,
        teacher_logits=torch.randn(4, 10),
        target=torch.tensor([0, 3, 3, 9]),
        cross_entropy=torch.nn.functional.cross_entropy(logits, torch.tensor([0, 3, 3, 9])),
    )
    exec(text, scope)
    scope['loss'].backward()
    assert logits.grad.isfinite().all()
    assert scope['loss'].item() > scope['cross_entropy'].item()


def test_folding_the_weights_of_micronet(folder):
    """From a made-up file like the published one, half of whose stem is pruned."""
    (folder / 'checkpoints').mkdir()
    network = Config.fromfile(ROOT / 'configs/_base_/networks/micronet_cifar100.py').micronet
    init_default_scope('aekt_mm')
    expected = build(MODELS, network)
    state = {
        name.removeprefix('backbone.').replace('head.fc', '_fc'): value.clone()
        for name, value in expected.state_dict().items()
    }
    mask = torch.arange(24).view(-1, 1, 1, 1) % 2
    expected.backbone._conv_stem.weight.data *= mask
    state['_conv_stem.mask'] = mask.expand(state['_conv_stem.weight'].shape).float()
    for name, value in state.items():
        if 'running' in name:
            state[name] = (value.expand(4, -1) + torch.tensor([[-1], [0], [0], [1]])).flatten()
    state['_exit._fc.weight'] = torch.ones(1)
    torch.save(state, 'trained_model.pth')

    [snippet] = (text for _, text in snippets(DOCS / 'teachers.md') if 'trained_model' in text)
    exec(snippet, {})
    model = build(MODELS, network)
    load_weights(model, 'checkpoints/cifar100_micronet.pth')
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name])
