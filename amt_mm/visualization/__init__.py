"""Pictures of saliency, plan and reconstruction."""

from .amt_visualizer import AMTVisualizer
from .attention import draw_attention, draw_heads, look, num_patches_seen
from .embedding import (
    PROJECTIONS,
    check_projection,
    draw_embedding,
    project,
    thumbnail_side,
)
from .page import Section, write_page
from .panels import Panel, draw_panel, draw_sheet
from .plan_samples import draw_plans, sample_plans
from .training_panels import to_pixels, training_panels

__all__ = [
    'PROJECTIONS', 'AMTVisualizer', 'Panel', 'Section', 'check_projection',
    'draw_attention', 'draw_embedding', 'draw_heads', 'draw_panel',
    'draw_plans', 'draw_sheet', 'look', 'num_patches_seen', 'project',
    'sample_plans', 'thumbnail_side', 'to_pixels', 'training_panels',
    'write_page'
]
