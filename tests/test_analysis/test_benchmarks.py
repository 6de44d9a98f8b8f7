"""Measurements: what is compared is what it says, whatever a machine's speed."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from aekt_mm.analysis import benchmarks, image_benchmarks

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'
VANILLA = ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py'


def test_functions_take_turns():
    order = []

    def measurement(name, values):
        values = iter(values)

        def measure():
            order.append(name)
            return next(values)

        return measure

    functions = {
        'given': measurement('given', [9.0, 0.0, 5.0, 1.0]),
        'timed': measurement('timed', itertools.repeat(None)),
    }
    measured = benchmarks.take_turns(functions, rounds=3, warmup=1)
    rounds = [tuple(order[k : k + 2]) for k in range(0, 8, 2)]
    assert set(rounds) == {('given', 'timed'), ('timed', 'given')}  # neither is always first
    assert measured['given'] == [0.0, 5.0, 1.0]
    assert len(measured['timed']) == 3 and min(measured['timed']) > 0


def test_ratios_are_those_within_a_round():
    measured = {'slow': [1.0, 10.0, 4.0], 'fast': [3.0, 20.0, 8.0]}
    assert benchmarks.summarise(measured) == {
        'slow': {'median': 4.0, 'ratio': 1.0},
        'fast': {'median': 8.0, 'ratio': 2.0},
    }


def values(row):
    return {name: figure['median'] for name, figure in row.items()}


def test_losses_against_another(monkeypatch):
    monkeypatch.setattr(benchmarks, 'LOSS_SHAPES', ((8, 5), (4, 9)))
    seen = set()

    def against(student, teacher, target):
        seen.add((student.shape, teacher.shape, target.shape, student.requires_grad))
        return nn.functional.mse_loss(student, teacher)

    figures = benchmarks.losses(rounds=2, against=against)
    assert list(figures) == ['(8, 5)', '(4, 9)']
    assert list(figures['(8, 5)']) == ['torch KL', 'kd', 'dkd', 'aekt', 'against']
    assert seen == {((8, 5), (8, 5), (8,), True), ((4, 9), (4, 9), (4,), True)}


def test_every_method_on_logits(monkeypatch):
    monkeypatch.setattr(benchmarks, 'LOSS_SHAPES', ((8, 5),))
    [row] = benchmarks.losses(rounds=1, methods=list(benchmarks.LOSSES)).values()
    assert list(row) == ['torch KL', *benchmarks.LOSSES]
    assert min(values(row).values()) > 0


@pytest.mark.parametrize('method', list(benchmarks.FEATURE_LOSSES))
def test_every_method_on_features(method, monkeypatch):
    shapes = [(3, 8, 8), (4, 4, 4)], [(5, 8, 8), (6, 4, 4)]
    monkeypatch.setattr(benchmarks, 'STAGES', {'small': shapes})

    def against(student, teacher, target, sample_idx):
        assert isinstance(student, list) == (method in ('at', 'reviewkd'))
        assert target.shape == sample_idx.shape == (6,)
        first = student[0] if isinstance(student, list) else student
        return first.square().mean()

    figures = benchmarks.features(method, rounds=1, against=against, batch_size=6)
    assert list(figures['small']) == ['ours', 'against']


@pytest.mark.parametrize('compiled', [False, {'backend': 'aot_eager'}])
def test_steps_of_a_recipe(compiled, monkeypatch):
    pytest.importorskip('sklearn')
    monkeypatch.chdir(ROOT)
    got = []

    def loop(teacher, student, batch_size, iterations):
        got.append((teacher.training, student.training, batch_size, iterations))
        assert teacher(torch.zeros(2, 3, 32, 32)).shape == student(torch.zeros(2, 3, 32, 32)).shape
        return 123.0

    figures = benchmarks.steps(
        str(RECIPE), str(VANILLA), (16,), iterations=4, rounds=1, against=loop, compiled=compiled
    )
    row = values(figures['16'])
    assert list(row) == ['bare loop', 'student alone', 'online', 'cached', 'against']
    assert row['against'] == 123.0 and min(row.values()) > 0
    assert got == [(False, True, 16, 4)]


def test_more_iterations_than_a_recipe_has(monkeypatch, digits_recipe):
    monkeypatch.chdir(ROOT)
    digits_recipe.train_cfg.max_epochs = 1
    with pytest.raises(ValueError, match='1000 iterations are more than the recipe has'):
        benchmarks.run_recipe(digits_recipe, 1000)


def test_the_teacher_adds_its_weights_to_the_peak_and_no_activations(monkeypatch):
    monkeypatch.chdir(ROOT)
    batch = 32
    figures = values(benchmarks.memory(str(RECIPE), batch))
    one_layer = batch * 16 * 32 * 32 * 4 / 2**20  # the widest of the teacher's feature maps
    added = figures['online'] - figures['cached']
    assert figures["teacher's weights"] <= added + 0.01
    assert added <= figures["teacher's weights"] + one_layer
    assert figures['cached'] - figures['student alone'] < 0.1 * one_layer


def test_the_batched_path_reads_what_the_others_read():
    figures = values(benchmarks.data(images=256, rounds=1))
    assert list(figures) == ['aekt_mm', 'mmpretrain', 'torchvision']
    assert min(figures.values()) > 0


def test_networks_and_caches():
    figures = values(benchmarks.networks(str(RECIPE), batch_size=8, side=32, rounds=1))
    assert list(figures) == ['student, step', 'teacher, forward', 'online']
    assert figures['online'] == figures['student, step'] + figures['teacher, forward']

    figures = benchmarks.cache_reads(samples=64, batch_size=8, rounds=1)
    assert all(list(row) == ['float32', 'float16', 'topk'] for row in figures.values())
    assert all(min(values(row).values()) > 0 for row in figures.values())


def test_a_users_own_images(tmp_path):
    for package in ('pyarrow', 'simplejpeg'):
        pytest.importorskip(package)
    with pytest.raises(FileNotFoundError, match='has no images'):
        image_benchmarks.images(tmp_path)
    (tmp_path / 'deep').mkdir()
    for index in range(5):
        image = np.random.default_rng(index).integers(0, 256, (90, 70, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / 'deep' / f'{index}.JPEG')
    figures = image_benchmarks.images(tmp_path, count=4, side=24, short_side=32, rounds=1)
    names = ['mmpretrain', 'torchvision', 'prepared', 'prepared, decoded to size']
    assert [list(row) for row in figures.values()] == [names, names]
    assert min(values(figures['images/s']).values()) > 0
    files = sorted((tmp_path / 'deep').iterdir())[:4]
    assert figures['bytes']['torchvision']['median'] == sum(p.stat().st_size for p in files) / 4
    assert figures['bytes']['prepared']['ratio'] < 1


def test_an_unknown_function_to_compare_with(tool, tmp_path, capsys):
    (tmp_path / 'peer.py').write_text('def loss(s, t, y): return (s - t).square().mean()\n')
    command = ['tools/benchmark.py', 'losses', '--against']
    for spec, message in (
        (f'{tmp_path}/absent.py:loss', 'there is no file'),
        (f'{tmp_path}/peer.py:los', "has no function 'los'"),
    ):
        assert message in tool(*command, spec)

    out = tmp_path / 'figures.json'
    assert tool(*command, f'{tmp_path}/peer.py:loss', '--rounds', '2', '--out', out) is None
    printed = capsys.readouterr().out
    assert 'against' in printed
    content = json.loads(out.read_text())
    assert content['unit'] == 'ms' and content['machine']['torch'] == torch.__version__
    assert set(content['figures']['(256, 1000)']) >= {'against', 'dkd', 'torch KL'}
