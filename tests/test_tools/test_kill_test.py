"""Real processes, killed at random moments; the long version is tools/misc/kill_test.py itself."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from aekt_mm.models.classifiers import build_classifier

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_ranks_killed_and_resumed(tmp_path, run):
    pytest.importorskip('sklearn')
    (tmp_path / 'short.py').write_text(f"""
_base_ = {str(ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py')!r}

model = dict(
    teacher=dict(model=dict(backbone=dict(depth=8)), checkpoint={str(tmp_path / 'teacher.pth')!r})
)
param_scheduler = dict(total_steps=3)
train_cfg = dict(max_epochs=3)
""")
    teacher, _ = build_classifier(Config.fromfile(tmp_path / 'short.py').model.teacher.model)
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
    script = (sys.executable, 'tools/misc/kill_test.py', tmp_path / 'short.py', tmp_path / 'runs')
    printed = run(*script, '--kills', '2', '--processes', '2')
    result = json.loads(printed[printed.index('{') :])
    assert sum(result['kills'].values()) == 2
    assert result['finished'] >= 1
    assert result['differing'] == result['left'] == []
