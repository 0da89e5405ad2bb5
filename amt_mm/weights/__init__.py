"""WHERE weights come from: checkpoints are read, compared and loaded."""
from .encoder import encoder_state, load_encoder
from .pretrained import Pretrained
from .read import read_state_dict

__all__ = ['Pretrained', 'encoder_state', 'load_encoder', 'read_state_dict']
