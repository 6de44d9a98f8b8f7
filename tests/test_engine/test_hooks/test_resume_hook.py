"""Gradients that add up on several ranks; the rest is in test_interruption.py."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from torch import nn

from aekt_mm.engine.hooks import ResumeHook, resume_hook
from aekt_mm.engine.hooks.resume_hook import GRADIENTS

pytestmark = pytest.mark.stack


def runner(value, steps=3):
    """A run of four batches a step that has had some, all with the gradient of the weight alone."""
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=4)
    optimizer.initialize_count_status(model, 0, 100)
    for _ in range(steps):
        optimizer.update_params(value * model.weight.sum())
    hooks = [CheckpointHook(by_epoch=False, interval=5)]
    run = SimpleNamespace(
        model=model, optim_wrapper=optimizer, hooks=hooks, iter=4, _resume=True, max_iters=100
    )
    run.train_dataloader = SimpleNamespace(sampler=SimpleNamespace(num_views=1))
    return run


def save(hook, run):
    checkpoint = {'optimizer': {}}
    hook.before_save_checkpoint(run, checkpoint)
    return checkpoint.get(GRADIENTS)


def rank_saves(rank, store, queue):
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    hook, run = ResumeHook(), runner(value=4.0 * (rank + 1))
    before = save(hook, run)
    hook.after_train_epoch(run)  # no checkpoint is saved by epochs
    alone = run.model.weight.grad.tolist()
    hook.after_train_iter(run)
    saved = {name: gradient.tolist() for name, gradient in save(hook, run).items()}
    queue.put((rank, before, alone, run.model.weight.grad.tolist(), saved))
    dist.barrier()
    dist.destroy_process_group()


def test_ranks_go_on_with_the_mean(tmp_path):
    context = torch.multiprocessing.get_context('fork')
    queue = context.Queue()
    ranks = [
        context.Process(target=rank_saves, args=(rank, tmp_path / 'store', queue))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    results = sorted(queue.get(timeout=60) for _ in ranks)
    for rank in ranks:
        rank.join(timeout=60)
    mean = [[4.5, 4.5]]
    assert results == [
        (0, None, [[3.0, 3.0]], mean, {'weight': mean}),  # its own alone are not saved for all
        (1, None, [[6.0, 6.0]], mean, {'weight': mean}),
    ]


def test_augmentation_without_views_is_drawn_anew(monkeypatch):
    messages = []
    monkeypatch.setattr(resume_hook, 'print_log', lambda text, *_, **__: messages.append(text))
    run = runner(4.0, steps=4)
    ResumeHook().before_train(run)
    assert not messages
    del run.train_dataloader.sampler.num_views
    ResumeHook().before_train(run)
    assert 'is drawn anew' in messages[0]


@pytest.mark.parametrize('kept', [True, False])
def test_what_is_lost_is_said(kept, monkeypatch):
    messages = []
    monkeypatch.setattr(
        resume_hook, 'print_log', lambda message, *_, **__: messages.append(message)
    )
    saved = save(ResumeHook(), runner(4.0))
    hook, run = ResumeHook(), runner(4.0)
    run.model.zero_grad()
    hook.after_load_checkpoint(run, {GRADIENTS: saved} if kept else {})
    hook.before_train(run)
    if kept:
        assert run.model.weight.grad.tolist() == [[3.0, 3.0]]
        assert not messages
    else:
        assert 'the first step is of fewer batches' in messages[0]


def test_nothing_is_added_between_steps_or_to_the_best():
    assert save(ResumeHook(), runner(4.0, steps=4)) is None
    best = {}
    ResumeHook().before_save_checkpoint(runner(4.0), best)
    assert best == {}
