"""What the project costs, side by side with its peers."""

from .item import Item, Result, Setting, item
from .items import ITEMS
from .timing import interleave, ratios

__all__ = [
    'ITEMS', 'Item', 'Result', 'Setting', 'interleave', 'item', 'ratios'
]
