"""Follow a page of the docs, its commands at a small size.

Each page is followed from top to bottom in a folder of its own, with its files
written where it says so. What is put in place of the reader's words, and what
makes a command end in seconds, is listed here and nowhere else.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tool_process import run_tool

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r'^ *```(python|bash)\n(.*?)^ *```$', re.M | re.S)
FILE = re.compile(r'# (\w+\.py)\n')

# in place of words of the page
WORDS = {
    '.venv/bin/python': sys.executable,
    r'make_figures\.py --images DIR': 'make_figures.py --images data/photos',
    r'\bDIR\b': 'data/photos/train',
    r'\bCHECKPOINT\b': 'work_dirs/mae_amt_vit-s_custom/epoch_2.pth',
    r'epoch_100\.pth': 'epoch_2.pth',
    r'epoch_15\.pth': 'epoch_5.pth',
    r'iter_300\.pth': 'iter_2.pth',
    r'configs/mae_amt_vit-s_custom\.py': 'my_small.py',
    'resume=True epochs=400': 'resume=True epochs=2',
}
# in place of the config that most commands name: a model of two layers
MODEL = """_base_ = 'configs/mae_amt_vit-s_custom.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=32, num_layers=2,
                            num_heads=4, feedforward_channels=64)),
    neck=dict(embed_dim=32, decoder_embed_dim=32, decoder_depth=1))
work_dir = 'work_dirs/mae_amt_vit-s_custom'
"""
# added to commands in which the words on the left occur
SMALL = {
    r'make_demo_data\.py': '--num-train 22 --num-val 8 --image-size 64',
    r'make_figures\.py$':
    "--epochs 2 --num-train 16 --out out --runs '16 images'",
    r'make_figures\.py --images': '--epochs 2 --num-train 8 --runs healthy',
    r'(tools/train\.py|dist_train\.sh)\b(?!.*(detector|my_masks))':
    '--cfg-options train_cfg.max_epochs=2 train_dataloader.batch_size=4 '
    'train_dataloader.num_workers=0 train_dataloader.dataset.indices=8 '
    'default_hooks.checkpoint.interval=1 custom_hooks.1.interval=1',
    r'train\.py my_strategy':
    '--cfg-options model.backbone.arch.embed_dims=32 '
    'model.backbone.arch.num_layers=2 model.backbone.arch.num_heads=4 '
    'model.backbone.arch.feedforward_channels=64 '
    'model.backbone.arch._delete_=True model.neck.embed_dim=32 '
    'model.neck.decoder_embed_dim=32 model.neck.decoder_depth=1',
    r'train\.py my_(detector|masks)':
    '--cfg-options train_cfg.max_iters=2 train_cfg.val_interval=2 '
    'train_dataloader.num_workers=0 train_dataloader.dataset.indices=4 '
    'val_dataloader.num_workers=0 val_dataloader.dataset.indices=2 '
    'default_hooks.checkpoint.interval=2',
    r'amt_mm pretrain (?!.*resume)':
    'model=vit-tiny image_size=32 epochs=1 batch_size=4 workers=0',
    r'amt_mm\.ProbeHook': '--cfg-options default_hooks.probe.k=2',
    r'test\.py my_detector':
    '--cfg-options test_dataloader.num_workers=0 '
    'test_dataloader.dataset.indices=2',
}
# not run here
ELSEWHERE = {
    r'in1k': 'needs ImageNet; test_readme.py and test_configs.py check it',
    r'\bmim ': 'test_mim.py',
    r'-m sphinx': 'test_docs.py',
    r'torchrun ': 'test_api.py',
}


def commands(text: str) -> list[str]:
    """Return the shell commands of a block, each on one line."""
    lines = text.replace('\\\n', ' ').splitlines()
    return [re.sub(' +', ' ', line.strip()) for line in lines if line.strip()]


def run(command: str, folder: Path, fresh: bool = True) -> None:
    """Run a command as the reader would; fail with what it printed.

    One that is not to be fresh is forked with the libraries imported.
    """
    env = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1',
           'PYTHONPATH': f'{folder}:{ROOT}', 'PORT': '29517'}
    words = shlex.split(command)
    more = dict(word.split('=') for word in words
                if word.startswith('PYTHONPATH='))
    words = words[len(more):]
    if words[1:3] == ['-m', 'amt_mm']:
        words[1:3] = [str(ROOT / 'amt_mm' / '__main__.py')]
    if not fresh and words[0] == sys.executable and words[1][-3:] == '.py':
        done = run_tool(words[1:], env | more, folder, 280)
    else:
        done = subprocess.run(['bash', '-c', command], cwd=folder, env=env,
                              capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, \
        f'{command}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}'


def shrunk(command: str) -> str:
    """Put real words into a command, and make it small."""
    options = [more for words, more in SMALL.items()
               if re.search(words, command)]
    for words, ours in WORDS.items():
        command = re.sub(words, ours, command)
    return ' '.join([command, *options])


def follow(page: Path, folder: Path) -> int:
    """Do what a page says; return how many commands were run.

    The first of them is a process of its own, unless it makes data or figures,
    and the others are forked.
    """
    count = 0
    for language, text in BLOCK.findall(page.read_text()):
        if language == 'python':
            if name := FILE.match(text):
                folder.joinpath(name.group(1)).write_text(text)
            continue
        for command in commands(text):
            if any(re.search(words, command) for words in ELSEWHERE):
                continue
            run(shrunk(command), folder,
                fresh=not count and '/make_' not in command)
            count += 1
    return count


def reader_folder(folder: Path, photos: Path) -> Path:
    """Return a checkout to work in, with the photographs of the reader."""
    for name in ('configs', 'tools', 'docs'):
        (folder / name).symlink_to(ROOT / name)
    (folder / 'my_small.py').write_text(MODEL)
    shutil.copytree(photos, folder / 'data/photos')
    people = folder / 'data/people'
    for source, name, end in ((photos / 'train', 'images', '.jpg'),
                              (photos / 'semantic/train', 'masks',
                               '_mask.png')):
        people.joinpath(name).mkdir(parents=True)
        for path in source.glob('*/*'):
            shutil.copy(path, people / name / f'{path.stem}{end}')
    return folder
