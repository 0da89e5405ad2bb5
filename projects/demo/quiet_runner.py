"""A runner that shows only some lines of its log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.runner import Runner


def build_quiet_runner(cfg: Config, shown: Sequence[str]) -> Runner:
    """Build a runner whose terminal shows only lines with certain words."""
    level, cfg.log_level = cfg.log_level, 'WARNING'
    runner = Runner.from_cfg(cfg)
    runner.logger.setLevel(level)
    for handler in runner.logger.handlers:
        handler.setLevel(level)
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(
                lambda record: any(word in record.getMessage()
                                   for word in shown))
    return runner
