"""Every classification config builds, runs on real images and learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from data_files import (
    read_images,
    unpack_some,
    without_checksums,
    write_cifar,
    write_imagenet,
    write_stl10,
    write_tiny_imagenet,
)
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from small_configs import read_config
from torchvision.datasets import STL10 as Reader

from amt_mm.engine.fit_config import fit_machine, move_data_root

CONFIGS = Path(__file__).parents[1] / 'configs' / 'classification'
FILES = sorted(CONFIGS.glob('*.py'))
NUM_CLASSES = {
    'in1k': 1000, 'cifar10': 10, 'cifar100': 100, 'stl10': 10,
    'tiny-imagenet': 200, 'demo': 8}
TINY = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


def load(recipe, data, root=None):
    """Read a config and point it to a folder, as tools/train.py does."""
    cfg = read_config(next(CONFIGS.glob(f'*_{recipe}*_{data}.py')))
    if root:
        old_root, cfg.data_root = cfg.data_root, str(root)
        move_data_root(cfg, old_root)
    return cfg


def shrink(cfg, work_dir, **train_cfg):
    """Reduce a config to what a test can bear: a ViT of two layers."""
    arch = cfg.model.backbone
    arch.arch, arch.init_cfg = TINY, None
    if arch.get('frozen_stages'):
        arch.frozen_stages = TINY['num_layers']
        cfg.model.neck.input_features = TINY['embed_dims']
    cfg.model.head.in_channels = TINY['embed_dims']
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0)
        loader.dataset.indices = list(range(4))
    cfg.merge_from_dict(dict(
        work_dir=str(work_dir), log_level='ERROR', train_cfg=train_cfg))
    cfg.param_scheduler[0].end = 1
    cfg.param_scheduler[1].begin = 0
    fit_machine(cfg)
    return cfg


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_config_builds_at_its_size(path):
    cfg = read_config(path)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(
            dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    data = path.stem.rsplit('_', 1)[1]
    assert model.head.num_classes == NUM_CLASSES[data]
    if data != 'demo':
        assert cfg.data_preprocessor.num_classes == NUM_CLASSES[data]
    assert len(model.backbone.layers) == (4 if 'mini' in path.stem else 12)
    size = model.backbone.img_size[0]
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        assert DATASETS.get(dataset.type)
        assert dataset.data_root == cfg.data_root
        pipeline = [TRANSFORMS.build(step) for step in dataset.pipeline]
        crop = getattr(pipeline[-2], 'crop_size', (size, size))
        assert crop == (size, size)
    # normalised as in the pre-training
    pretraining = read_config(
        'mae_pixel-amt_vit-mini_demo' if 'mini' in path.stem
        else 'mae_amt_vit-b_400e_in1k').data_preprocessor
    for key in ('mean', 'std', 'to_rgb'):
        assert cfg.data_preprocessor[key] == pretraining[key]
    assert cfg.model.backbone.init_cfg == dict(
        type='Pretrained', _scope_='amt_mm', checkpoint='')
    assert cfg.auto_scale_lr.enable
    text = path.read_text()
    assert text.startswith('"""') and path.name in text.split('"""')[1]


def test_there_is_a_config_for_every_set_of_the_table():
    names = {path.stem for path in FILES if not path.stem.endswith('demo')}
    assert names == {
        f'vit-b_{recipe}_{data}' for recipe in ('linear_90e', 'finetune_100e')
        for data in NUM_CLASSES if data != 'demo'
    }


@pytest.fixture(scope='module')
def real_sets(real_data, unpack, tmp_path_factory):
    """Real images in the formats of the five data sets."""
    root = tmp_path_factory.mktemp('sets')
    photos = unpack('imagenet_native200')
    names = photos / 'imagenet1k_synsets_from_filenames.txt'
    wnids = [line.split()[0] for line in names.read_text().splitlines()]
    files = sorted((photos / 'val').glob('*.JPEG'))[:4]
    write_imagenet(root / 'in1k', {
        file.name.split('_')[0]: [file] for file in files
    }, wnids)
    small = unpack_some(real_data / 'cifar10.tar.xz', root, 1, 4)
    images = read_images(sum(small.values(), []), 32)
    write_cifar(root / 'cifar10', CIFAR10, images, range(4))
    write_cifar(root / 'cifar100', CIFAR100, images, (0, 30, 60, 99))
    write_stl10(root / 'stl10', read_images(files, 96), (0, 3, 6, 9))
    write_tiny_imagenet(
        root / 'tiny-imagenet',
        unpack_some(real_data / 'tiny_imagenet40.tar.xz', root, 2, 4))
    return root


@pytest.mark.parametrize('recipe', ['linear', 'finetune'])
@pytest.mark.parametrize('data', [d for d in NUM_CLASSES if d != 'demo'])
def test_config_runs_on_real_images(recipe, data, real_sets, monkeypatch,
                                    tmp_path):
    """All of the config but the ViT's size, the batch and the epochs."""
    without_checksums(monkeypatch, CIFAR10, CIFAR100, Reader)
    cfg = shrink(
        load(recipe, data, real_sets / data), tmp_path, max_epochs=1,
        val_interval=1)
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert len(scalars['train/loss'].data[0]) == 1
    # about the entropy of a guess, mixed labels included
    guess = torch.tensor(float(NUM_CLASSES[data])).log().item()
    assert scalars['train/loss'].current() == pytest.approx(guess, rel=0.1)
    assert 0 <= scalars['val/accuracy/top5'].current() <= 100


@pytest.fixture
def run(demo_data, tmp_path):
    """Return a function that trains a demo config from an encoder's file."""

    def train(recipe, max_epochs, **options):
        cfg = shrink(
            load(recipe, 'demo', demo_data), tmp_path, max_epochs=max_epochs,
            val_interval=max_epochs)
        cfg.merge_from_dict(options)
        encoder = VisionTransformer(TINY, img_size=64, patch_size=8)
        encoder.init_weights()
        start = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
        checkpoint = tmp_path / 'pretrained.pth'
        torch.save(dict(state_dict=start, meta=dict(grid=[8, 8])), checkpoint)
        cfg.model.backbone.init_cfg = dict(
            type='Pretrained', _scope_='amt_mm', checkpoint=str(checkpoint))
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner, start

    return train


def moved(runner, start):
    """Name the weights that are not bit-equal to those of the start."""
    end = runner.model.state_dict()
    return {
        name for name in end
        if name not in start or not torch.equal(start[name], end[name])
    }


def test_linear_probe_moves_the_head_only(run):
    """Every weight of the encoder is bit-equal, and so are its features."""
    runner, start = run('linear', 4)
    model = runner.model
    group, = runner.optim_wrapper.optimizer.param_groups[-1:]
    assert group['initial_lr'] == pytest.approx(6.4 * 4 / 32)  # by the batch
    assert moved(runner, start) == {
        'neck.bn.running_mean', 'neck.bn.running_var',
        'neck.bn.num_batches_tracked', 'head.layers.head.weight',
        'head.layers.head.bias'}
    assert (model.head.layers.head.bias != 0).all()  # it starts at zero
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert not list(model.neck.parameters())
    # mmengine puts the frozen layers in training mode: it makes no difference
    image = torch.randn(2, 3, 64, 64)
    features = [model.train(mode).backbone(image)[0] for mode in (True, False)]
    torch.testing.assert_close(*features, rtol=0, atol=0)


def test_neck_is_a_batch_norm_without_parameters():
    neck = MODELS.build(dict(
        load('linear', 'demo').model.neck, input_features=5))
    x = torch.randn(64, 5) * 3 + 1
    expected = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(neck((x, ))[0], expected)


def test_unfrozen_layers_do_not_move_either(run):
    """As with a deeper ViT and the frozen_stages of the base."""
    runner, start = run('linear', 2, **{'model.backbone.frozen_stages': 1})
    assert runner.model.backbone.layers[1].ffn.layers[1].weight.requires_grad
    # the last norm may: the batch norm that follows undoes its scale
    assert {name for name in moved(runner, start) if 'backbone' in name} <= {
        'backbone.ln1.weight', 'backbone.ln1.bias'}


def test_fine_tuning_moves_every_weight_at_its_layer_s_rate(run):
    runner, start = run(
        'finetune', 2, **{'auto_scale_lr.base_batch_size': 4})
    # the class token's output is not used, and the norm of it is not there
    assert set(start) - moved(runner, start) == {
        'backbone.ln1.weight', 'backbone.ln1.bias'}
    rates = {
        group['param_name']: (group['initial_lr'], group['lr'])
        for group in runner.optim_wrapper.optimizer.param_groups
    }
    # all begin with the rate of their layer and end at one share of it
    share = rates['head.fc.weight'][1] / 1e-3
    assert share < 1e-3
    for name, power in (('head.fc.weight', 0),
                        ('backbone.layers.1.ffn.layers.1.weight', 1),
                        ('backbone.layers.0.ffn.layers.1.weight', 2),
                        ('backbone.pos_embed', 3)):
        first, last = rates[name]
        assert first == pytest.approx(1e-3 * 0.65**power)
        assert last == pytest.approx(share * first)


@pytest.mark.parametrize('recipe, data, rates', [
    ('linear', 'in1k', 6.4 / 16384), ('linear', 'cifar10', 6.4 / 512),
    ('linear', 'cifar100', 6.4 / 512), ('linear', 'stl10', 6.4 / 512),
    ('linear', 'tiny-imagenet', 6.4 / 512), ('finetune', 'in1k', 2e-3 / 1024),
    ('finetune', 'stl10', 2e-3 / 1024)])
def test_rate_of_an_image(recipe, data, rates):
    cfg = load(recipe, data)
    assert cfg.auto_scale_lr.enable
    assert cfg.optim_wrapper.optimizer.lr / cfg.auto_scale_lr.base_batch_size \
        == pytest.approx(rates)


def test_without_a_checkpoint_a_run_stops(demo_data, tmp_path):
    cfg = shrink(
        load('linear', 'demo', demo_data), tmp_path, max_epochs=1,
        val_interval=1)
    cfg.model.backbone.init_cfg = dict(
        type='Pretrained', _scope_='amt_mm', checkpoint='')
    with pytest.raises(ValueError, match='checkpoint must name'):
        Runner.from_cfg(cfg).train()
