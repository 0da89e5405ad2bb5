"""WHERE weights come from: checkpoints are read, compared and loaded."""
from .encoder import encoder_state, load_encoder
from .model import load_model
from .pretrained import Pretrained
from .read import read_checkpoint, read_state_dict
from .trust import check_checkpoint, weights_only_loading

__all__ = [
    'Pretrained', 'check_checkpoint', 'encoder_state', 'load_encoder',
    'load_model', 'read_checkpoint', 'read_state_dict', 'weights_only_loading'
]
