"""Pictures of saliency, plan and reconstruction."""

from .amt_visualizer import AMTVisualizer
from .attention import draw_attention, draw_heads, look, num_patches_seen
from .page import Section, write_page
from .panels import Panel, draw_panel, draw_sheet
from .plan_samples import draw_plans, sample_plans
from .training_panels import to_pixels, training_panels

__all__ = [
    'AMTVisualizer', 'Panel', 'Section', 'draw_attention', 'draw_heads',
    'draw_panel', 'draw_plans', 'draw_sheet', 'look', 'num_patches_seen',
    'sample_plans', 'to_pixels', 'training_panels', 'write_page'
]
