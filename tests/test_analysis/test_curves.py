"""What runs logged is all in the table, and drawn by arm; TensorBoard gets the same."""

import pytest

from aekt_mm.analysis.curves import curves
from aekt_mm.analysis.drawing import write_png
from aekt_mm.analysis.runs import group_by_seed, read_runs, read_scalars


def test_curves(finished, tmp_path):
    runs = read_runs([str(finished / name) for name in ('aekt_0', 'aekt_1', 'alone')])
    findings = curves(group_by_seed(runs))
    (table,) = findings.tables
    frame = table.frame
    train, _ = read_scalars(runs[1])
    chosen = frame[(frame['scalar'] == 'loss_explicit') & (frame['run'] == 'aekt_1')]
    assert chosen['value'].tolist() == train['aekt.loss_explicit'].tolist()
    assert set(frame['arm']) == {'aekt', 'alone'}
    titles = [panel.title for panel in findings.panels]
    assert titles[:3] == ['Validation: top-1, %', 'Loss', 'Loss: cross-entropy']
    assert {
        'Applied weight of explicit knowledge',
        'Training: agreement with the teacher, %',
    } < set(titles)
    write_png(findings, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')


def test_tensorboard_gets_what_is_logged(finished):
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    (folder,) = (finished / 'aekt_0').glob('*/vis_data')
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    train, val = read_scalars(*read_runs([str(finished / 'aekt_0')]))
    for name in (
        'loss_ce',
        'aekt.loss_explicit',
        'aekt.loss_implicit',
        'aekt.applied_weight',
        'agreement',
        'teacher_top1',
        'student_top1',
    ):
        logged = [event.value for event in events.Scalars(name)]
        assert logged == pytest.approx(train[name].tolist(), rel=1e-5), name
    top1 = [event.value for event in events.Scalars('accuracy/top1')]
    assert top1 == pytest.approx(val['accuracy/top1'].tolist())


def test_statistics_are_means_over_the_window(finished):
    """Not the last batch's, which has 2 of the digits and could only be 0, 50 or 100 %."""
    train, _ = read_scalars(*read_runs([str(finished / 'aekt_0')]))
    assert not set(train['agreement']) <= {0.0, 50.0, 100.0}
    assert train['agreement'].between(0, 100).all()
