"""What the project costs, side by side with its peers."""

from .item import Item, Result, Setting, all_items, item
from .timing import interleave, ratios

__all__ = [
    'Item', 'Result', 'Setting', 'all_items', 'interleave', 'item', 'ratios'
]
