"""WHERE weights come from: checkpoints are read, compared and loaded."""
from .encoder import encoder_state, load_encoder
from .pretrained import Pretrained
from .read import read_state_dict
from .trust import check_checkpoint, reading_safely

__all__ = [
    'Pretrained', 'check_checkpoint', 'encoder_state', 'load_encoder',
    'read_state_dict', 'reading_safely'
]
