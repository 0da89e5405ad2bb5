"""Write files and folders that are either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that is gone afterwards."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save_tensors(state: dict[str, Tensor], path: Path,
                 metadata: dict[str, str] | None = None) -> None:
    """Write tensors, each with memory of its own, as safetensors."""
    own = {key: value.detach().clone(memory_format=torch.contiguous_format)
           for key, value in state.items()}
    # libraries of Hugging Face refuse a file without a format
    save_file(own, path, {'format': 'pt', **(metadata or {})})


def write_tensors(state: dict[str, Tensor], out: Path,
                  metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file in one step."""
    check_suffix(out, is_safetensors=True)
    with staging(out) as folder:
        save_tensors(state, folder / 'part', metadata)
        os.replace(folder / 'part', out)


def check_suffix(out: Path, is_safetensors: bool) -> None:
    """Raise ValueError if a name belies the format, which readers go by."""
    if (out.suffix == '.safetensors') != is_safetensors:
        raise ValueError(f'--out must {"" if is_safetensors else "not "}end '
                         f'in .safetensors for this target, got {out.name}.')


def refuse_to_overwrite(out: Path, source: str, force: bool) -> None:
    """Raise ValueError if writing would destroy something unasked.

    Raises:
        ValueError: If ``out`` is the checkpoint itself, or exists (a folder:
            and is not empty) and ``force`` is not given.
    """
    if not out.exists():
        return
    if Path(source).exists() and out.samefile(source):
        raise ValueError(f'--out is the checkpoint itself: {out}.')
    if out.is_dir() and not any(out.iterdir()):
        return
    if not force:
        raise ValueError(f'{out} exists' + (
            ' and is not empty' if out.is_dir() else '') +
            ': choose another --out, or --force to overwrite.')
