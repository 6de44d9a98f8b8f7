"""What is installed is what was meant to be."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from types import SimpleNamespace

import pytest

import aekt_mm

ROOT = Path(__file__).parents[1]
GIT = ['git', '-C', str(ROOT), 'ls-files']


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """A copy of what is under version control, so that a build leaves nothing behind here."""
    files = subprocess.run(
        [*GIT, '--cached', '--others', '--exclude-standard'], capture_output=True, text=True
    ).stdout.split()
    if not files:
        pytest.skip('not a git checkout')
    folder = tmp_path_factory.mktemp('sources')
    for name in files:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope='module')
def wheel(sources, tmp_path_factory):
    """A wheel, from a source distribution, without the network."""
    pytest.importorskip('setuptools')
    folder = tmp_path_factory.mktemp('wheel')
    build = 'from setuptools import build_meta; print(build_meta.build_{}("{}"))'

    def run(what, cwd):
        done = subprocess.run(
            [sys.executable, '-c', build.format(what, folder)],
            cwd=cwd,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return folder / done.stdout.split()[-1]

    archive = run('sdist', sources)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter='data')
    unpacked = folder / archive.name.removesuffix('.tar.gz')
    path = run('wheel', unpacked)
    with zipfile.ZipFile(path) as packed:
        names = set(packed.namelist())
        info = f'aekt_mm-{aekt_mm.__version__}.dist-info'
        metadata = Parser().parsestr(packed.read(f'{info}/METADATA').decode())
    return SimpleNamespace(path=path, names=names, metadata=metadata, sdist=unpacked)


def below(*folders, kinds=('.py', '.yml', '.yaml', '.md', '.sh')):
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob('*')
        if path.suffix in kinds and '__pycache__' not in path.parts and '.mim' not in path.parts
    }


def test_every_module_is_in_it(wheel):
    installed = {name for name in wheel.names if '.mim' not in name and name.endswith('.py')}
    assert installed == below('aekt_mm', kinds=('.py',))
    assert {'aekt_mm/py.typed', 'aekt_mm/analysis/report.html'} <= set(wheel.names)


def test_mim_finds_recipes_and_tools(wheel):
    expected = {f'aekt_mm/.mim/{name}' for name in below('configs', 'tools')}
    mim = {name for name in wheel.names if name.startswith('aekt_mm/.mim/')}
    assert mim == expected | {'aekt_mm/.mim/model-index.yml'}


@pytest.mark.parametrize('how', ['installed', 'on PYTHONPATH'])
def test_a_recipe_elsewhere_inherits_from_ours(how, wheel, sources, tmp_path):
    if how == 'installed':
        place = tmp_path / 'site'
        with zipfile.ZipFile(wheel.path) as packed:
            packed.extractall(place)
    else:
        place = sources
        assert not (sources / 'aekt_mm/.mim').exists()
    recipe = 'aekt_mm::kd/kd_resnet56_resnet20_cifar100.py'
    (tmp_path / 'mine.py').write_text(f'_base_ = {recipe!r}')
    (tmp_path / 'short.yaml').write_text(f'_base_: {recipe}\ntrain_cfg: {{max_epochs: 3}}')
    code = (
        'import aekt_mm\n'
        'from mmengine.config import Config\n'
        "mine, short = map(Config.fromfile, ('mine.py', 'short.yaml'))\n"
        'assert (mine.train_cfg.max_epochs, short.train_cfg.max_epochs) == (240, 3)\n'
        'print(aekt_mm.__file__, mine.model.student.backbone.depth)'
    )
    path = os.pathsep.join([str(place), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-2:] == [str(place / 'aekt_mm/__init__.py'), '20']


def test_metadata(wheel):
    metadata = wheel.metadata
    assert (metadata['Name'], metadata['Version']) == ('aekt_mm', aekt_mm.__version__)
    assert metadata['Requires-Python'] == '>=3.10'
    assert metadata['License'] == 'Apache-2.0' or metadata['License-Expression'] == 'Apache-2.0'
    assert any('LICENSE' in name for name in wheel.names)
    required = metadata.get_all('Requires-Dist')
    base = {line for line in required if 'extra ==' not in line}
    listed = (ROOT / 'requirements/runtime.txt').read_text().split()
    assert base == {line for line in listed if not line.startswith('#')}
    assert set(metadata.get_all('Provides-Extra')) == {
        'analysis',
        'digits',
        'docs',
        'images',
        'onnx',
        'openmmlab',
        'studies',
        'tests',
    }
    for minor in range(10, 14):
        assert f'Programming Language :: Python :: 3.{minor}' in metadata.get_all('Classifier')


def test_the_source_distribution_builds_and_tests(wheel):
    for name in ('setup.py', 'README.md', 'CHANGELOG.md', 'CITATION.cff', 'LICENSE'):
        assert (wheel.sdist / name).exists(), name
    assert (wheel.sdist / 'tests/conftest.py').exists()


def test_versions_agree():
    citation = (ROOT / 'CITATION.cff').read_text(encoding='utf-8')
    assert f'\nversion: {aekt_mm.__version__}\n' in citation
    assert f'## {aekt_mm.__version__}' in (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')


def test_editable_links_what_mim_needs(sources, tmp_path):
    """As ``pip install --editable`` does it: changed recipes are seen without a new install."""
    code = f'from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})'
    done = subprocess.run([sys.executable, '-c', code], cwd=sources, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    mim = sources / 'aekt_mm/.mim'
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (mim / name).is_symlink()
        assert (mim / name).resolve() == (sources / name).resolve()
