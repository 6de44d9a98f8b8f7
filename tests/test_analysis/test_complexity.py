"""What is counted of networks, by hand; what is measured of steps is plausible."""

from torch import nn

from aekt_mm.analysis.complexity import complexity, network_size
from aekt_mm.analysis.runs import read_runs


def test_counts():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(256, 5)
    )
    size = network_size(network, 8)
    assert size.parameters == 3 * 4 * 9 + 256 * 5 + 5
    assert size.multiply_adds == 64 * 3 * 4 * 9 + 256 * 5


def test_of_recipes():
    runs = read_runs(['vanilla_resnet8slim_digits', 'aekt_resnet20_resnet8slim_digits'])
    findings = complexity(runs, batch_size=4, rounds=1)
    (table,) = findings.tables
    alone, aekt = (table.frame.loc[run.name] for run in runs)
    assert alone['student, parameters'] == aekt['student, parameters'] == 6530
    assert (alone['trained beside the student'], aekt['trained beside the student']) == (0, 110)
    assert aekt['teacher, parameters'] > 40 * aekt['student, parameters']
    # weights of teacher and student, the gradients and the momentum of the student's
    floats = aekt['teacher, parameters'] + 3 * (aekt['student, parameters'] + 110)
    assert aekt['step, MiB'] > 4 * floats / 2**20
    assert aekt['step, MiB'] > alone['step, MiB']
    assert (table.frame['step, ms'] > 0).all()
