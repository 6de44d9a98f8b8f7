"""What pictures show of many classes, and that none changes matplotlib's settings."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from aekt_mm.analysis.drawing import NAMED_CLASSES, class_dots, to_svg, write_png
from aekt_mm.analysis.findings import Findings, Panel


@pytest.mark.parametrize('highest', [False, True])
def test_of_many_classes_those_that_stand_out(highest):
    values = pd.DataFrame({'run': np.random.default_rng(0).permutation(50)})
    values.index = [f'class {value}' for value in values['run']]
    values.loc['class 50'] = np.nan
    axes = Figure().add_subplot()
    class_dots(axes, values, {'run': 'red'}, highest)
    named = [label.get_text() for label in axes.get_yticklabels()]
    numbers = range(50 - NAMED_CLASSES, 50) if highest else range(NAMED_CLASSES)[::-1]
    assert named == [f'class {number}' for number in numbers]  # from the bottom to the top


def test_settings_stay_as_they_are(tmp_path):
    before = dict(matplotlib.rcParams)
    panel = Panel('title', lambda axes: axes.plot([1, 2], [2, 1]))
    write_png(Findings('', '', panels=[panel] * 4, key={'a': 'red'}), tmp_path / 'four.png')
    assert to_svg(panel, 'x') == to_svg(panel, 'x')  # the same every time
    assert dict(matplotlib.rcParams) == before
