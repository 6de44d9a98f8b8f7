"""Confidence in the true class, against numpy."""

import numpy as np
import pytest
from scipy.special import softmax

from aekt_mm.analysis.explicit_knowledge import explicit_knowledge
from aekt_mm.evaluation import calibration_error


def test_tables(predictions):
    tables = {table.name: table.frame for table in explicit_knowledge(predictions).tables}
    rows, labels = range(90), predictions.labels.numpy()
    student = softmax(predictions.students['far'].double().numpy(), 1)[rows, labels]
    teacher = softmax(predictions.teachers['far'].double().numpy(), 1)[rows, labels]
    found = tables['confidence'].loc['far']
    assert found['gap, mean'] == pytest.approx(
        np.mean([abs(a - b) for a, b in zip(student, teacher)])
    )
    assert found['behind, % of samples'] == pytest.approx(
        100 * sum(a < b for a, b in zip(student, teacher)) / 90
    )
    assert found['correlation'] == pytest.approx(np.corrcoef(student, teacher)[0, 1])
    assert tables['calibration'].index.tolist() == ['near', 'far', 'teacher']  # once
    error = calibration_error(predictions.teachers['far'], predictions.labels)
    assert tables['calibration'].loc['teacher', 'ECE'] == error
    samples = tables['confidence_samples']
    np.testing.assert_allclose(samples['confidence: teacher'], teacher)
    assert samples['label'].tolist() == labels.tolist()
