from .compatibility import check_installed, let_configs_inherit_mmseg
from .version import __version__

check_installed()
let_configs_inherit_mmseg()

__all__ = ['__version__']
