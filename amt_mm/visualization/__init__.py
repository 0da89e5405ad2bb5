"""Pictures of saliency, plan and reconstruction."""

from .embedding import (
    PROJECTIONS,
    check_projection,
    draw_embedding,
    project,
    thumbnail_side,
)
from .page import Section, write_page
from .panels import Panel, draw_sheet
from .pictures import (
    cls_attention_maps,
    draw_attention,
    draw_heads,
    draw_plans,
    effective_num_patches,
    sample_plans,
    to_pixels,
    training_panels,
)
from .visualizers import (
    AMTMLflowVisBackend,
    AMTVisualizer,
    MetricsVisBackend,
)

__all__ = [
    'AMTMLflowVisBackend', 'AMTVisualizer', 'MetricsVisBackend', 'PROJECTIONS',
    'Panel', 'Section',
    'check_projection', 'cls_attention_maps', 'draw_attention',
    'draw_embedding', 'draw_heads', 'draw_plans', 'draw_sheet',
    'effective_num_patches', 'project', 'sample_plans', 'thumbnail_side',
    'to_pixels', 'training_panels', 'write_page'
]
