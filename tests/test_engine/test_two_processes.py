"""Two processes make the maps together, each its share of the images."""

from __future__ import annotations

import os

import numpy as np
import torch
import torch.multiprocessing as mp
from mmengine.runner import Runner
from tiny_run import NUM_IMAGES

RATE = 'optim_wrapper.optimizer.lr'


def _train(rank, cfg, port):
    os.environ.update(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank),
        LOCAL_RANK=str(rank), WORLD_SIZE='2')
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    # mmengine's own launcher asks for a GPU: the group is made here instead,
    # and each process trains a model of its own at a rate of 0
    Runner.from_cfg(cfg).train()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_make_the_maps_of_one(tiny_cfg, run, tmp_path):
    options = {'train_cfg.max_epochs': 2, RATE: 0.,
               'train_dataloader.num_workers': 0,
               'train_dataloader.persistent_workers': False,
               'randomness': dict(seed=0, _delete_=True)}
    alone = run(tiny_cfg('alone', **options))
    cfg = tiny_cfg('together', **options)
    port = 20000 + os.getpid() % 20000
    mp.spawn(_train, args=(cfg, port), nprocs=2)
    paths = [f'{root}/saliency/epoch_0001.npy'
             for root in (alone.work_dir, cfg.work_dir)]
    one, two = (np.load(path)['map'] for path in paths)
    assert one.shape == (NUM_IMAGES, 4, 4)
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert not list((tmp_path / 'together').rglob('*.part'))
