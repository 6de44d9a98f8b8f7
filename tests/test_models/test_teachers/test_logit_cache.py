"""Logits on disk: what goes in comes out, and nothing else does."""

import errno
import json
import os

import numpy as np
import pytest
import torch

from aekt_mm.models.losses import AEKTLoss, DKDLoss, KDLoss
from aekt_mm.models.teachers import LogitCache

VIEWS, SAMPLES, CLASSES = 2, 6, 300


def make(folder, form='float32', k=5, temperature=4.0, **more):
    manifest = dict(
        views=VIEWS, samples=SAMPLES, classes=CLASSES, format=form, k=k, temperature=temperature
    )
    return LogitCache.create(folder, {**manifest, 'identity': {}, **more})


def fill(cache, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(VIEWS, SAMPLES, CLASSES, generator=generator) * scale
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    order = np.array([4, 0, 2, 5, 1, 3])
    for view in range(VIEWS):
        cache.write(view, order, labels[order], logits[view, order])
        cache.flush([(view, order)])
    cache.seal()
    return logits, labels


@pytest.mark.parametrize(('form', 'tolerance'), [('float32', 0), ('float16', 2**-11)])
def test_dense(tmp_path, form, tolerance):
    logits, labels = fill(make(tmp_path, form))
    cache = LogitCache(tmp_path)
    cache.require_complete()
    for view in range(VIEWS):
        samples = np.array([5, 1])
        read = cache.read(view, samples, labels[samples])
        assert read.dtype == torch.float32
        torch.testing.assert_close(read, logits[view, samples], rtol=tolerance, atol=1e-6)


def test_topk_keeps_what_it_says(tmp_path):
    logits, labels = fill(make(tmp_path, 'topk', k=5, temperature=2.0))
    samples = np.arange(SAMPLES)
    read = LogitCache(tmp_path).read(0, samples, labels)
    rows = torch.arange(SAMPLES)
    torch.testing.assert_close(read[rows, labels], logits[0, rows, labels])
    others = logits[0].clone()
    others[rows, labels] = -torch.inf
    values, classes = others.topk(5)
    torch.testing.assert_close(read.gather(1, classes), values, rtol=2**-11, atol=0)
    # the tempered probability of the target is right, since the mass of the rest is
    torch.testing.assert_close(
        (read / 2).softmax(1)[rows, labels],
        (logits[0] / 2).softmax(1)[rows, labels],
        rtol=1e-3,
        atol=1e-6,
    )


def test_topk_of_all_classes_is_exact(tmp_path):
    cache = make(tmp_path, 'topk', k=CLASSES - 1)
    logits, labels = fill(cache)
    read = cache.read(1, np.arange(SAMPLES), labels)
    torch.testing.assert_close(read, logits[1], rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize(
    'loss', [KDLoss(), DKDLoss(), AEKTLoss()], ids=lambda loss: type(loss).__name__
)
def test_topk_losses_come_close_as_k_grows(tmp_path, loss):
    """The explicit part is right at any k; the implicit part's error shrinks, and that of KD."""
    part = 'loss' if isinstance(loss, KDLoss) else 'loss_implicit'
    errors = []
    for k in (5, 50, 250):
        cache = make(tmp_path / str(k), 'topk', k=k)
        logits, labels = fill(cache)
        student = logits[0] + torch.randn(SAMPLES, CLASSES, generator=torch.manual_seed(1))
        right = loss(student, logits[0], labels)
        read = cache.read(0, np.arange(SAMPLES), labels)
        ours = loss(student, read, labels)
        if 'loss_explicit' in right:
            torch.testing.assert_close(
                ours['loss_explicit'], right['loss_explicit'], rtol=1e-2, atol=1e-4
            )
        errors.append((ours[part] - right[part]).abs() / right[part])
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1


def test_size_of_imagenet(tmp_path):
    """A view of ImageNet is tens of megabytes with ten logits, not thousands."""
    cache = make(tmp_path, 'topk', k=10, classes=1000)
    assert cache.record.itemsize * 1_281_167 / 2**20 < 64


class TestRefusals:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'cache_teacher\.py makes one'):
            LogitCache(tmp_path)

    def test_no_manifest_of_ours(self, tmp_path):
        (tmp_path / 'manifest.json').write_text('{"views": 3}')
        with pytest.raises(ValueError, match='no manifest of a teacher cache'):
            LogitCache(tmp_path)

    def test_other_version(self, tmp_path):
        make(tmp_path)
        path = tmp_path / 'manifest.json'
        path.write_text(json.dumps({**json.loads(path.read_text()), 'version': 7}))
        with pytest.raises(ValueError, match='has version 7'):
            LogitCache(tmp_path)

    def test_truncated(self, tmp_path):
        fill(make(tmp_path))
        path = tmp_path / 'logits.bin'
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ValueError, match='it is truncated or foreign'):
            LogitCache(tmp_path)

    def test_damaged_in_a_byte(self, tmp_path):
        fill(make(tmp_path))
        content = bytearray((tmp_path / 'logits.bin').read_bytes())
        content[-100] ^= 1
        (tmp_path / 'logits.bin').write_bytes(content)
        cache = LogitCache(tmp_path)
        samples, labels = np.array([0]), torch.tensor([0])
        cache.read(0, samples, labels)  # which is whole
        for _ in range(2):
            with pytest.raises(ValueError, match=r'view 1 of the teacher cache .* is damaged'):
                cache.read(1, samples, labels)

    def test_incomplete(self, tmp_path):
        cache = make(tmp_path)
        cache.flush([(0, np.arange(3))])
        with pytest.raises(ValueError, match='is 25% written'):
            LogitCache(tmp_path).require_complete()
        with pytest.raises(ValueError, match=r'9 records of .* were never written'):
            cache.seal()

    def test_nan(self, tmp_path):
        logits = torch.zeros(1, CLASSES)
        logits[0, 3] = torch.nan
        with pytest.raises(ValueError, match='NaN or infinite'):
            make(tmp_path).write(0, np.array([1]), torch.tensor([0]), logits)

    @pytest.mark.parametrize(
        ('options', 'message'),
        [(dict(form='float8'), "but is 'float8'"), (dict(form='topk', k=300), 'but is 300')],
    )
    def test_bad_options(self, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            make(tmp_path, **options)


def test_a_manifest_with_too_few_checksums(tmp_path):
    fill(make(tmp_path))
    path = tmp_path / 'manifest.json'
    content = json.loads(path.read_text())
    content['checksums'].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'manifest\.json is damaged: it has changed since'):
        LogitCache(tmp_path)
    del content['checksum']  # as written by an earlier release
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='must have a checksum for each of 2 views'):
        LogitCache(tmp_path).require_complete()


def test_nothing_is_written_through_a_link(tmp_path):
    precious = tmp_path / 'precious.bin'
    precious.write_bytes(b'mine')
    folder = tmp_path / 'cache'
    folder.mkdir()
    (folder / 'logits.bin').symlink_to(precious)
    fill(make(folder))
    assert precious.read_bytes() == b'mine'

    (folder / 'logits.bin').rename(tmp_path / 'moved.bin')
    (folder / 'logits.bin').symlink_to(tmp_path / 'moved.bin')
    LogitCache(folder).require_complete()  # reading is harmless
    with pytest.raises(ValueError, match=r'logits\.bin is a symbolic link'):
        LogitCache(folder, writable=True)


def test_a_cache_that_does_not_fit_is_refused_before_it_is_begun(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'posix_fallocate', full)
    with pytest.raises(OSError, match=r'of 14\.4 kB does not fit into .*B are free: take another'):
        make(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_space_is_reserved(tmp_path):
    make(tmp_path)
    status = (tmp_path / 'logits.bin').stat()
    assert status.st_blocks * 512 >= status.st_size == VIEWS * SAMPLES * CLASSES * 4
