"""Where weights come from: checkpoints are read, compared and loaded."""
from .layouts import Weights, open_weights
from .load import load_encoder, load_model, read_state_dict, read_weights
from .pretrained import Pretrained
from .read import check_checkpoint, read_checkpoint, weights_only_loading

__all__ = [
    'Pretrained', 'Weights', 'check_checkpoint', 'load_encoder', 'load_model',
    'open_weights', 'read_checkpoint', 'read_state_dict', 'read_weights',
    'weights_only_loading'
]
