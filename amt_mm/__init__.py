from .families import check_installed
from .version import __version__

check_installed()

__all__ = ['__version__']
