"""Weights by a name, of timm or of the hub of Hugging Face.

Both libraries keep what they download in the cache of ``huggingface_hub``,
which serves without a network what is in it.
"""

from __future__ import annotations

import difflib
from pathlib import Path

SCHEMES = ('timm:', 'hf:')
# what transformers writes into a folder, one file or several with an index
HF_FILES = ('model.safetensors', 'model.safetensors.index.json',
            'pytorch_model.bin', 'pytorch_model.bin.index.json')
# the second only where the first brings no weights
PATTERNS = (['config.json', 'model*.safetensors', 'model*.index.json'],
            ['pytorch_model*.bin', 'pytorch_model*.index.json'])


def fetch(path: str) -> str:
    """Return the folder of the cache for ``timm:NAME`` or ``hf:NAME``.

    It is downloaded where the cache lacks it; a few models of timm have a URL.
    Any other path is returned as it is. Raises ValueError if there is no such
    name, or no network.
    """
    scheme, _, name = path.partition(':')
    if f'{scheme}:' not in SCHEMES:
        return path
    try:
        return _of_timm(name) if scheme == 'timm' else _of_hub(name, path)
    except ModuleNotFoundError as error:
        raise ValueError(f'{path} needs {error.name}: pip install timm '
                         'transformers.') from error


def _of_timm(name: str) -> str:
    """Return where the weights of a model of timm lie."""
    import timm
    known = timm.list_pretrained()
    try:
        cfg = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        cfg = None
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        near = ', '.join(difflib.get_close_matches(name, known, 3))
        raise ValueError(f'timm has no pre-trained weights of timm:{name}'
                         + (f'; similar names: {near}.' if near else '.'))
    return _of_hub(cfg.hf_hub_id, f'timm:{name}') if cfg.hf_hub_id \
        else str(cfg.url)


def _of_hub(repo: str, path: str) -> str:
    """Return the folder of the cache with the weights of a repository."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import RepositoryNotFoundError
    try:
        for patterns in PATTERNS:
            folder = snapshot_download(repo, allow_patterns=patterns)
            if any(Path(folder, name).is_file() for name in HF_FILES):
                return folder
        reason = f'the repository {repo} holds none of {", ".join(HF_FILES)}'
    except RepositoryNotFoundError:
        reason = f'there is no public repository {repo}'
    except (OSError, ValueError) as error:
        reason = f'{type(error).__name__} at {repo}'
    raise ValueError(
        f'{path} is not in the cache {HF_HUB_CACHE} and could not be '
        f'downloaded ({reason}): run `hf download {repo}` where there is a '
        'network, or name a file.')
