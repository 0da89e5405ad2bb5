"""What torch.compile makes of the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor.config import patch

from amt_mm.compatibility import inductor_error
from amt_mm.masking import MaskPlan

from .item import Result, Setting, item
from .step import device, given_plan
from .workload import Workload, read_config, workloads

METHODS = dict(
    mae='mae_amt_vit-b_400e_in1k',
    simmim='simmim_amt_vit-b_200e_in1k',
    maskfeat='maskfeat_amt_vit-b_300e_in1k')
NUM_PLANS = 4


@item('compile', 'Compilation',
      'The graphs that torch.compile(fullgraph=True) makes of the loss given '
      f'the ids of a plan, over {NUM_PLANS} batches with other plans: one, '
      'without a break, and none anew for another plan. The models are of two '
      'layers, as all layers are alike. Counted by torch._dynamo; the '
      'losses are compared with those not compiled. The backend is inductor, '
      "or aot_eager where inductor's own code does not compile. In the runner "
      'is a model with compile_loss, which makes the plan outside of the '
      'graph.')
def compile_graphs(setting: Setting) -> list[Result]:
    """Count graphs, breaks and recompilations."""
    results = []
    for method, name in METHODS.items():
        _, load = workloads(read_config(name, tiny=True))
        found = best_backend(load)
        graphs = found.pop('graphs')
        results.append(Result(
            f'graphs_{method}', graphs, (graphs, graphs), NUM_PLANS, 1,
            unit='graphs', extra=found))
    return [*results, in_the_runner()]


def in_the_runner() -> Result:
    """Count the graphs of a model with ``compile_loss``."""
    torch._dynamo.reset()
    counters.clear()
    cfg = read_config(METHODS['mae'], tiny=True)
    cfg.model.compile_loss = dict(backend='aot_eager')
    _, load = workloads(cfg)
    model = load.build(device())
    for _ in range(NUM_PLANS):
        images = load.images(2, device())
        model.loss(images, load.samples(2))['loss'].backward()
    graphs = counters['stats']['unique_graphs']
    return Result(
        'graphs_mae_in_runner', graphs, (graphs, graphs), NUM_PLANS, 1,
        unit='graphs', extra=dict(backend='aot_eager'))


def best_backend(load: Workload) -> dict[str, Any]:
    """Count with inductor where that compiles, else with aot_eager."""
    try:
        return count_graphs(load, 'inductor')
    except inductor_error() as error:
        # no C++ compiler, or code that it does not take
        found = count_graphs(load, 'aot_eager')
        cause = type(getattr(error, 'inner_exception', error)).__name__
        return dict(found, inductor_fails_with=cause)


def count_graphs(load: Workload, backend: str) -> dict[str, Any]:
    """Compile a loss, call it with several plans, and count."""
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    model = load.build(device())
    images = load.images(2, device())
    loss: Any = given_plan(model, load.grid)
    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    difference = 0.
    # with the random numbers of stochastic depth that are torch's own
    with patch(fallback_random=True):
        for _ in range(NUM_PLANS):
            plan = MaskPlan.from_data_samples(load.samples(2), device())
            found = one_loss(compiled, images, plan)
            expected = one_loss(loss, images, plan)
            difference = max(difference, abs(found / expected - 1))
    graphs = counters['stats']['unique_graphs']
    breaks = sum(counters['graph_break'].values())
    return dict(
        backend=backend,
        graphs=graphs,
        breaks=breaks,
        recompilations=max(0, graphs - breaks - 1),
        relative_difference_of_loss=float(f'{difference:.2g}'))


def one_loss(loss: Any, images: Tensor, plan: MaskPlan) -> float:
    """Return the loss of one batch, after its backward."""
    torch.manual_seed(0)  # of stochastic depth
    value = loss(images, plan.ids_visible, plan.ids_masked)
    value.backward()
    return value.item()
