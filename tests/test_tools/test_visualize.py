"""``tools/visualize.py`` on checkpoints of a run, and on an encoder alone."""

from __future__ import annotations

import re

import mmcv
import pytest
import torch

DEMO = 'configs/mae_amt_vit-t_30e_demo.py'


@pytest.fixture(scope='module')
def checkpoints(demo_model, tmp_path_factory):
    """A whole model, and its encoder alone."""
    folder = tmp_path_factory.mktemp('models')
    torch.save(dict(state_dict=demo_model.state_dict()),
               folder / 'epoch_1.pth')
    torch.save(demo_model.backbone.state_dict(), folder / 'encoder.pth')
    return folder


def test_pictures_page_and_summary(call, checkpoints, jpeg_folder, tmp_path):
    (tmp_path / 'bad<b>.jpg').write_bytes(b'no image')
    result = call(
        'visualize', DEMO, checkpoints / 'epoch_1.pth', 'none',
        checkpoints / 'encoder.pth', '--images', jpeg_folder,
        tmp_path / 'bad<b>.jpg', '--num-images', '9', '--num-plans', '3',
        '--out', tmp_path / 'look')
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    assert re.search(r'left out: .*bad<b>\.jpg', text)
    assert 'encoder.pth' in text and 'It has no decoder' in text
    spread = re.findall(r'looks at ([\d.]+) of 64 patches', result.stdout)
    assert len(spread) == 3 and all(1 <= float(n) <= 64 for n in spread)
    files = {path.name for path in (tmp_path / 'look').iterdir()}
    assert files == {
        'attention.png', 'heads_1.png', 'heads_2.png', 'heads_3.png',
        'plans_1.png', 'plans_2.png', 'index.html'}
    page = (tmp_path / 'look' / 'index.html').read_text()
    sources = re.findall(r'(?:src|href)\s*=\s*["\']?(.{22})', page)
    assert sources == 6 * ['data:image/png;base64,']
    assert 'epoch_1.pth' in page
    attention, heads, plans = (
        mmcv.imread(tmp_path / 'look' / f'{name}.png')
        for name in ('attention', 'heads_1', 'plans_2'))
    assert heads.shape[1] > attention.shape[1]  # 5 columns to 4
    assert plans.shape[1] > 8 * 256


@pytest.mark.parametrize(('checkpoint', 'images', 'message'), [
    ('none', 'nowhere.jpg', 'at least one readable image'),
    ('nowhere.pth', '', 'nowhere.pth'),
    ('part.pth', '', 'lacks neck.mask_token')])
def test_bad_input(call, checkpoints, jpeg_folder, tmp_path, checkpoint,
                   images, message):
    """What fits how is in test_weights/test_load.py."""
    state = torch.load(checkpoints / 'epoch_1.pth',
                       weights_only=True)['state_dict']
    del state['neck.mask_token']
    torch.save(dict(state_dict=state), checkpoints / 'part.pth')
    name = checkpoint if checkpoint == 'none' else checkpoints / checkpoint
    result = call('visualize', DEMO, name, '--images', images or jpeg_folder,
                  '--num-images', '1', '--out', tmp_path / 'look')
    assert result.returncode != 0
    assert message in result.stderr + result.stdout
    assert not list(tmp_path.glob('look/*'))
