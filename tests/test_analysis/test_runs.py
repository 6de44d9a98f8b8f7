"""What is read of runs that have ended."""

import json
import shutil

import pytest

from aekt_mm.analysis.runs import (
    group_by_seed,
    read_environment,
    read_runs,
    read_scalars,
)


@pytest.fixture
def copied(finished, tmp_path):
    """A run's folder that a test may change, elsewhere than where it ran."""
    return shutil.copytree(finished / 'aekt_0', tmp_path / 'moved')


def test_a_run_is_read(finished, copied):
    (run,) = read_runs([str(copied)])
    assert (run.name, run.seed, run.folder) == ('moved', 0, copied)
    assert run.checkpoint == copied / 'epoch_2.pth'
    assert run.cfg.model.teacher.checkpoint == str(finished / 'teacher.pth')
    assert read_environment(run)['PyTorch']


def test_seeds_are_put_together(finished, tmp_path):
    runs = read_runs([str(finished / name) for name in ('aekt_0', 'alone', 'aekt_1')])
    arms = group_by_seed(runs)
    assert {arm: [run.name for run in members] for arm, members in arms.items()} == {
        'aekt': ['aekt_0', 'aekt_1'],
        'alone': ['alone'],
    }
    as_in_a_study = shutil.copytree(finished / 'aekt_1', tmp_path / 'dkd alpha=1' / 'seed_1')
    assert list(group_by_seed(read_runs([str(as_in_a_study)]))) == ['dkd alpha=1']


def test_scalars_of_all_starts(copied):
    log = next(copied.glob('*/vis_data/scalars.json'))
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    again = copied / '99991231_000000' / 'vis_data'
    again.mkdir(parents=True)
    shutil.copy(log.parent / 'config.py', again)
    repeated = {**next(e for e in entries if e.get('iter') == 10), 'loss': 77.0}
    (again / 'scalars.json').write_text(json.dumps(repeated) + '\n{"loss": 3.1, "it')
    train, val = read_scalars(*read_runs([str(copied)]))
    steps = sorted(entry['iter'] for entry in entries if 'iter' in entry)
    assert train.index.tolist() == pytest.approx([step / 29 for step in steps])
    assert train['loss'].iloc[0] == 77.0
    last = next(entry for entry in reversed(entries) if 'iter' in entry)
    assert train['aekt.loss_explicit'].iloc[-1] == last['aekt.loss_explicit']
    assert val['accuracy/top1'].tolist() == [e['accuracy/top1'] for e in entries if 'iter' not in e]


def test_what_is_no_finished_run(copied, tmp_path):
    config = next(copied.glob('*/vis_data/config.py'))
    config.write_text(config.read_text() + '\ntrain_cfg["max_epochs"] = 3\n')
    with pytest.raises(ValueError, match='moved is of a run that is not finished: 2 of 3 epochs'):
        read_runs([str(copied)])
    (copied / 'last_checkpoint').unlink()
    with pytest.raises(ValueError, match='is not finished: it has no checkpoint yet'):
        read_runs([str(copied)])
    with pytest.raises(ValueError, match='is no work directory of a run: it has no TIME/vis_data'):
        read_runs([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r'there is no folder .*/none'):
        read_runs([str(tmp_path / 'none')])
    with pytest.raises(FileNotFoundError, match='there is no folder none, and there is no config'):
        read_runs(['none'])
    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint none\.pth'):
        read_runs(['kd_resnet20_resnet8slim_digits=none.pth'])


def test_recipes_and_names(finished, copied):
    path = f'kd_resnet20_resnet8slim_digits={copied / "epoch_2.pth"}'
    runs = read_runs([path, str(finished / 'alone')], {'train_dataloader.batch_size': 7})
    assert runs[0].checkpoint == copied / 'epoch_2.pth'
    assert [run.cfg.train_dataloader.batch_size for run in runs] == [7, 7]
    same = shutil.copytree(finished / 'alone', copied.parent / 'other' / 'alone')
    names = [run.name for run in read_runs([str(same), str(finished / 'alone')])]
    assert names == ['other/alone', f'{finished.name}/alone']
    with pytest.raises(ValueError, match='is named twice'):
        read_runs([str(same), str(same)])
