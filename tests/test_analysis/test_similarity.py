"""The tables of similarity hold the measures; their pictures are drawn."""

from dataclasses import replace

import pytest

from aekt_mm.analysis.drawing import to_svg
from aekt_mm.analysis.similarity import similarity
from aekt_mm.evaluation import agreement, kl_divergence


def test_tables(predictions):
    overall, classes = (table.frame for table in similarity(predictions).tables)
    near, teacher = predictions.students['near'], predictions.teachers['near']
    assert overall.loc['near', 'agreement, %'] == agreement(near, teacher)
    assert (overall.loc['near'] > overall.loc['far']).tolist() == [True, False, True, True]
    of_class = predictions.labels == 2
    expected = kl_divergence(near[of_class], teacher[of_class])
    assert classes.loc['car', 'KL(teacher, student), nats: near'] == pytest.approx(expected)
    assert classes.shape == (6, 8)


def test_pictures(predictions):
    findings = similarity(predictions)
    pictures = [to_svg(panel, f'x{k}') for k, panel in enumerate(findings.panels)]
    assert len(pictures) == 4
    for k, picture in enumerate(pictures):
        assert picture.startswith('<svg role="img" aria-label=')
        assert 'currentColor' in picture
        assert '#1b1f24' not in picture
        assert all(name.startswith(f'x{k}-') for name in picture.split(' id="')[1:])


def test_without_a_teacher(predictions):
    findings = similarity(replace(predictions, teachers={}))
    assert (findings.tables, findings.panels) == ([], [])
