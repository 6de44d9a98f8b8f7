"""tools/analysis_tools/analyse.py and tools/report.py, as called."""

import pandas as pd
import pytest
import torch

from aekt_mm.registry import MODELS, build


@pytest.fixture
def checkpoint(digits_recipe, tmp_path):
    """Of the student of a digits recipe, untrained."""
    path = tmp_path / 'epoch_2.pth'
    model = build(MODELS, {**digits_recipe.model, 'teacher': None})
    torch.save({'state_dict': model.state_dict(), 'meta': dict(epoch=2)}, path)
    return path


def test_analyse(tool, digits_recipe, checkpoint, tmp_path, capsys):
    config = tmp_path / 'mine.py'
    digits_recipe.dump(config)
    out = tmp_path / 'found'
    for subject in ('similarity', 'class-relations'):
        run = f'{config}={checkpoint}'
        assert tool('tools/analysis_tools/analyse.py', subject, run, '--out', out) is None
    found = {path.name for path in out.iterdir()}
    assert found == {
        'similarity.png',
        'similarity.csv',
        'similarity_classes.csv',
        'class-relations.png',
        'class_relations.csv',
        'class_pairs.csv',
        'class_pairs_strongest.csv',
    }
    assert set(capsys.readouterr().out.split()) == {str(out / name) for name in found}
    table = pd.read_csv(out / 'similarity.csv', index_col=0)
    assert table.index.tolist() == ['mine']
    assert 0 <= table.loc['mine', 'agreement, %'] <= 100
    assert pd.read_csv(out / 'class_pairs.csv').columns[0] == 'run'


def test_mistakes_are_a_line(tool, tmp_path):
    said = tool('tools/report.py', tmp_path)
    assert said.startswith(f'report: {tmp_path} is no work directory of a run')
    assert '\n' not in said
    said = tool('tools/analysis_tools/analyse.py', 'similarity', 'kd_resnet20_resnet8slim_digits')
    assert said.startswith('analyse: kd_resnet20_resnet8slim_digits has no checkpoint')
