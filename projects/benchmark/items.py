"""All items: importing their files puts them on the list."""

from . import (
    compile_items,
    data_items,
    growth_items,
    memory_items,
    peer_items,
    pipeline_items,
    saliency_items,
    step_items,
    store_items,
    worker_items,
)
from .item import ITEMS

FILES = (peer_items, step_items, compile_items, memory_items, saliency_items,
         data_items, pipeline_items, worker_items, store_items, growth_items)

__all__ = ['FILES', 'ITEMS']
