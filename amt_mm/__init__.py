from typing import TYPE_CHECKING, Any

from .families import check_installed
from .version import __version__

if TYPE_CHECKING:
    from .api import estimate_cost, export, extract, pretrain

check_installed()

__all__ = ['__version__', 'estimate_cost', 'export', 'extract', 'pretrain']


def __getattr__(name: str) -> Any:
    """Import the calls when one is asked for: they bring torch with them."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import api
    return getattr(api, name)
