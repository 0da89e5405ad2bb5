"""The numbers of the device against those of the CPU."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from mmcv.cnn.bricks import DropPath
from record import Recorder, Setting

from projects.benchmark.workload import Workload, read_config, workloads

METHODS = dict(
    mae='mae_amt_vit-b_400e_in1k',
    simmim='simmim_amt_vit-b_200e_in1k',
    maskfeat='maskfeat_amt_vit-b_300e_in1k')
BOUNDS = dict(fp32=1e-4, bf16=2e-2)
Numbers = tuple[float, dict[str, torch.Tensor]]


def run(setting: Setting, recorder: Recorder) -> None:
    """Compare every method, small, and MAE at full size."""
    for name, config in METHODS.items():
        recorder.check(f'{name}_tiny', compare, setting, config, True, 8)
    recorder.check('mae_b', compare, setting, METHODS['mae'], setting.toy,
                   setting.pick(4, 2))


def compare(setting: Setting, config: str, tiny: bool,
            batch_size: int) -> dict[str, Any]:
    """Return how far loss and gradients are from the CPU's in float32."""
    torch.manual_seed(0)
    np.random.seed(0)
    _, load = workloads(read_config(config, tiny))
    model = load.build('cpu')
    model.init_weights()
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.  # its random numbers are the device's own
    data = load.images(batch_size, 'cpu'), load.samples(batch_size)
    expected = numbers(model, load, data, 'cpu')
    line: dict[str, Any] = dict(
        batch_size=batch_size, loss=expected[0], ok=True)
    for name, options in dict(
            fp32={}, fp32_as_torch_has_it=dict(tf32=True),
            bf16=dict(dtype=torch.bfloat16)).items():
        found = numbers(model, load, data, setting.device, **options)
        apart = distances(found, expected)
        line |= {f'{name}_{key}': value for key, value in apart.items()}
        if name in BOUNDS:
            line['ok'] = line['ok'] and bool(
                max(apart['loss'], apart['gradients']) <= BOUNDS[name])
    return line


def numbers(model: Any, load: Workload, data: Any, device: str,
            dtype: torch.dtype | None = None, tf32: bool = False) -> Numbers:
    """Return the loss of a batch, and the gradients by name."""
    # torch lets convolutions, and no matrix products, use TF32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    model = copy.deepcopy(model).to(device)
    images, samples = data
    with torch.autocast(device, dtype) if dtype else nullcontext():
        loss = model.loss(images.to(device), samples)['loss']
    loss.backward()
    return loss.item(), {
        name: p.grad.detach().double().cpu()
        for name, p in model.named_parameters() if p.grad is not None}


def distances(found: Numbers, expected: Numbers) -> dict[str, Any]:
    """Return relative distances: of the loss, of all gradients as one vector,

    and of the parameter whose gradient is furthest off, among those whose
    gradients are not zero but for rounding.
    """
    (loss, own), (reference, other) = found, expected
    if own.keys() != other.keys():
        raise ValueError(f'gradients of {sorted(own.keys() ^ other.keys())} '
                         'are on one side only.')
    errors = {name: float((own[name] - g).norm()) for name, g in other.items()}
    norms = {name: float(g.norm()) for name, g in other.items()}
    total = float(np.linalg.norm([*norms.values()]))
    by_name = {name: errors[name] / norm for name, norm in norms.items()
               if norm > 1e-4 * total}
    worst = max(by_name, key=by_name.__getitem__)
    return dict(
        loss=short(abs(loss / reference - 1)),
        gradients=short(np.linalg.norm([*errors.values()]) / total),
        worst=short(by_name[worst]), worst_parameter=worst)


def short(value: Any) -> float:
    """Return three digits."""
    return float(f'{float(value):.3g}')
