"""The encoder alone, as mmpretrain, mmdet and mmseg load one."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from .checkpoint import BACKBONE, Checkpoint
from .write import check_suffix, staging


def to_mmpretrain(checkpoint: Checkpoint, out: Path) -> str:
    """Write tensors and their grid; return how to load them.

    Any backbone may be written, with relative positions too.
    """
    check_suffix(out, is_safetensors=False)
    state = {
        BACKBONE + key: value.detach().clone()
        for key, value in checkpoint.encoder.items()
    }
    meta = dict(grid=list(checkpoint.grid)) if checkpoint.grid else {}
    with staging(out) as folder:
        torch.save(dict(meta=meta, state_dict=state), folder / 'part')
        os.replace(folder / 'part', out)
    return (f"init_cfg=dict(type='Pretrained', checkpoint={str(out)!r}, "
            f"prefix='{BACKBONE}')")
