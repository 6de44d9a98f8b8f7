"""What tests share."""

import ast
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mmcv
import mmengine
import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.visualization import UniversalVisualizer
from yapf.yapflib import yapf_api

from aekt_mm.models import backbones

ROOT = Path(__file__).parents[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on what it ran; a report header would not be shown under -q."""
    stack = (torch, mmengine, mmcv, mmpretrain)
    versions = ', '.join(f'{package.__name__} {package.__version__}' for package in stack)
    terminalreporter.write_line(f'on {versions}')


@pytest.fixture(scope='session', autouse=True)
def configs_as_they_come() -> Iterator[None]:
    """Let MMEngine check the text of a config, and not lay it out: longer than runs are here."""

    def check(text: str, **_: object) -> tuple[str, bool]:
        ast.parse(text)
        return text, False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', check)
        yield


@pytest.fixture(autouse=True)
def registered_backbones() -> Iterator[None]:
    """Register our backbones anew: a published student, once loaded, brought copies of them."""
    yield
    for name in backbones.__all__:
        MMPRETRAIN_MODELS.register_module(module=getattr(backbones, name), force=True)
        sys.modules.pop(getattr(backbones, name).__module__.rpartition('.')[2], None)


@pytest.fixture
def digits_recipe(tmp_path: Path) -> Config:
    """The AEKT digits recipe for two epochs, with a small teacher whose weights are on disk."""
    pytest.importorskip('sklearn')
    from aekt_mm.models.classifiers import build_classifier

    cfg = Config.fromfile(ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py')
    cfg.work_dir = str(tmp_path / 'run')
    cfg.launcher = 'none'
    cfg.experiment_name = tmp_path.name  # runs of one name in one second would share a log
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = cfg.param_scheduler.total_steps = 2
    cfg.model.teacher.model.backbone.depth = 8
    torch.manual_seed(1)
    teacher, _ = build_classifier(cfg.model.teacher.model.copy())
    cfg.model.teacher.checkpoint = str(tmp_path / 'teacher.pth')
    torch.save(teacher.state_dict(), cfg.model.teacher.checkpoint)
    return cfg


@pytest.fixture
def loading_alone_is_tested_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what publishing ends with: a process that imports mmpretrain, for ten seconds."""
    from aekt_mm.engine import publishing

    monkeypatch.setattr(publishing, '_load_alone', lambda *_: None)


@pytest.fixture
def tool() -> Callable[..., str | None]:
    """Run a tool of this repository in this process, as in one of its own.

    Returns what it exits with, or None where it comes to its end.
    """

    def tool(path: str, *arguments: str | Path) -> str | None:
        # runs of a name in a second would share them
        for kind in (MMLogger, MessageHub, Visualizer, UniversalVisualizer):
            kind._instance_dict.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', [path, *map(str, arguments)])
            try:
                runpy.run_path(str(ROOT / path), run_name='__main__')
            except SystemExit as leaving:
                return str(leaving.code)
        return None

    return tool


@pytest.fixture(scope='session')
def run() -> Callable[..., str]:
    """Run a command in the repository's root, expect its status, return what it printed."""

    def run(*command: str | Path, returncode: int = 0, **environment: str) -> str:
        path = [str(ROOT), environment.pop('PYTHONPATH', ''), os.environ.get('PYTHONPATH', '')]
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
                'PYTHONPATH': os.pathsep.join(filter(None, reversed(path))),
                'OMP_NUM_THREADS': '1',
                **environment,
            },
        )
        assert done.returncode == returncode, done.stdout[-4000:]
        return done.stdout

    return run
