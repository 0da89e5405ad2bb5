"""What every method that masks by a plan has in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from amt_mm.arguments import (
    POSITIVE,
    check_bool,
    check_choice,
    check_config,
    check_str,
    error_context,
    optional,
)
from amt_mm.masking.plan import MaskPlan
from amt_mm.saliency.attention import HEAD_REDUCTIONS, vit_saliency

# by name: a size as it is, as it must be, and what it must fit
Sizes = dict[str, tuple[Any, Any, str]]
PARTS = ('backbone', 'neck', 'head', 'target_generator')


class BaseAMT(BaseSelfSupervisor):
    """A self-supervised method that can say where its encoder looks.

    Args:
        head_reduction (str): How the attention of several heads becomes one
            map: ``'mean_then_scale'`` (the paper) or ``'scale_then_mean'``.
            Defaults to ``'mean_then_scale'``.
        compile_loss (bool | dict): Whether ``torch.compile`` makes one graph
            of the loss given the plan, or its options. The plan is made
            outside, and the saliency is not compiled. Defaults to False.
        **kwargs: Those of
            :class:`mmpretrain.models.selfsup.BaseSelfSupervisor`.
    """

    # the kinds that ``backbone``, ``neck`` and ``head`` must be of
    parts: dict[str, type] = {}
    # what their configs take of the backbone where they do not say it
    of_backbone: dict[str, dict[str, str]] = {}

    def __init__(self,
                 head_reduction: str = 'mean_then_scale',
                 compile_loss: bool | dict[str, Any] = False,
                 **kwargs: Any) -> None:
        check_choice('head_reduction', head_reduction, HEAD_REDUCTIONS)
        optional(check_str)('pretrained', kwargs.get('pretrained'))
        backbone = _build('backbone', kwargs.get('backbone'))
        built = {name: _build(name, self._follow(name, backbone, cfg))
                 for name in PARTS[1:]
                 if (cfg := kwargs.get(name)) is not None}
        built['backbone'] = backbone
        super().__init__(**{**kwargs, **built})
        self.data_preprocessor.register_forward_pre_hook(
            partial(_check_batch, self.backbone))
        self.head_reduction = head_reduction
        # of the class, not bound: a copy of the model computes with its own
        self._loss: Callable[..., Tensor] = type(self).loss_given_plan
        if not isinstance(compile_loss, dict):
            compile_loss = {} if check_bool('compile_loss', compile_loss) \
                else dict(disable=True)
        self._loss = torch.compile(
            self._loss, **{'fullgraph': True, **compile_loss})
        for name, kind in self.parts.items():
            part = getattr(self, name)
            if not isinstance(part, kind):
                raise TypeError(f'{name} must be an {_full_name(kind)}, got '
                                f'{type(part).__name__}.')
        for name, (got, expected, source) in self.sizes().items():
            if got != expected:
                raise ValueError(f'{name} must be {expected} to fit {source}, '
                                 f'got {got}.')

    def _follow(self, name: str, backbone: nn.Module, cfg: Any) -> Any:
        """Fill in what a part takes of the backbone."""
        if not isinstance(cfg, dict):
            return cfg
        return {**{key: attrgetter(path)(backbone) for key, path in
                   self.of_backbone.get(name, {}).items()}, **cfg}

    def sizes(self) -> Sizes:
        """Return the sizes that must fit, by name."""
        return {}

    def init_weights(self) -> None:
        """Initialise the weights as ``init_cfg`` of each part says."""
        parts = {'model': self, **{n: getattr(self, n) for n in PARTS}}
        cfg = {name: getattr(part, 'init_cfg', None)
               for name, part in parts.items()}
        with error_context('cannot initialise the weights by init_cfg', cfg):
            super().init_weights()

    def loss(self, inputs: Tensor, data_samples: list[DataSample],
             **kwargs: Any) -> dict[str, Tensor]:
        """Return ``dict(loss=...)`` for images (B, C, H, W)."""
        # a head of other targets than pixels weighs none
        with_saliency = getattr(self.head, 'saliency_weight', 0) > 0
        plan = self.plan_of(inputs, data_samples, with_saliency)
        return dict(loss=self._loss(self, inputs, plan))

    def loss_given_plan(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return the loss of images (B, C, H, W), a number."""
        raise NotImplementedError

    @staticmethod
    @torch.compiler.disable  # made on the host; all after it is one graph
    def plan_of(inputs: Tensor, data_samples: list[DataSample],
                with_saliency: bool = False) -> MaskPlan:
        """Return the plan of a batch, on the device of its images."""
        return MaskPlan.from_data_samples(data_samples, inputs.device,
                                          with_saliency)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the features of whole images, nothing masked."""
        return self.backbone(inputs)

    def saliency(self, inputs: Tensor) -> Tensor:
        """Return where the encoder looks (B, h, w), in [0, 1]."""
        return vit_saliency(self.backbone, inputs, self.head_reduction)


def _build(name: str, cfg: Any) -> nn.Module:
    """Build a part, or say what is wrong with its config."""
    if isinstance(cfg, nn.Module):
        return cfg
    check_config(name, cfg)
    if 'loss' in cfg and not isinstance(cfg['loss'], nn.Module):
        loss = check_config(f'{name}.loss', cfg['loss'])
        optional(POSITIVE)(f'{name}.loss.channel', loss.get('channel'))
    with error_context(f'cannot build model.{name} from', cfg):
        return MODELS.build(cfg)


def _check_batch(backbone: Any, module: nn.Module, args: tuple) -> None:
    """Refuse a batch that the preprocessor would take for another.

    It fails without images, and makes three channels of any number.
    """
    if not (args and isinstance(args[0], dict)):
        return
    if 'inputs' not in args[0]:
        raise ValueError(
            "the pipeline must end with dict(type='PackInputs', algorithm_keys"
            "=('mask_plan', 'saliency')), whose input_key is that of an image;"
            f' got a batch of {sorted(args[0])}.')
    inputs = args[0]['inputs']
    channels = backbone.patch_embed.projection.in_channels
    if isinstance(inputs, Tensor) and inputs.shape[1] != channels:
        raise ValueError(f'in_channels must be {inputs.shape[1]} to fit the '
                         f'images, got {channels}.')


def _full_name(kind: type) -> str:
    """Name a class as a config does."""
    return f'{kind.__module__.split(".")[0]}.{kind.__name__}'
