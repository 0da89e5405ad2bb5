"""One file per method of masked image modelling; the parts of a detector."""

from .amt_beit_vit import AMTBEiTPretrainViT
from .amt_mae import AMTMAE, AMTMAEPretrainDecoder, AMTMAEViT
from .amt_maskfeat import AMTHOGGenerator, AMTMaskFeat, AMTMaskFeatViT
from .amt_simmim import (
    AMTSimMIM,
    AMTSimMIMHead,
    AMTSimMIMLinearDecoder,
    AMTSimMIMViT,
)
from .pixel_head import AMTMAEPretrainHead
from .simple_fpn import SimpleFPN
from .vitdet import ViTDet

__all__ = [
    'AMTBEiTPretrainViT', 'AMTHOGGenerator', 'AMTMAE', 'AMTMAEPretrainDecoder',
    'AMTMAEPretrainHead', 'AMTMAEViT', 'AMTMaskFeat', 'AMTMaskFeatViT',
    'AMTSimMIM', 'AMTSimMIMHead', 'AMTSimMIMLinearDecoder', 'AMTSimMIMViT',
    'SimpleFPN', 'ViTDet'
]
