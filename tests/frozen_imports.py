"""Import what takes long, once, and keep the garbage collector out of it.

mmengine collects garbage for each data set it makes, half a second with all of
these modules in memory. ``conftest.py`` freezes those of the tests likewise.
"""

from __future__ import annotations

import gc

import mmpretrain.datasets
import mmpretrain.models  # noqa: F401

gc.freeze()
