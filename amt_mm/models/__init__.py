"""One file per method of masked image modelling; the parts of a detector."""

from .base import BaseAMT
from .cross_decoder import AMTCrossDecoder
from .data_preprocessor import AMTDataPreprocessor
from .mae import AMTMAE, AMTMAEPretrainDecoder, AMTMAEPretrainHead, AMTMAEViT
from .maskfeat import AMTHOGGenerator, AMTMaskFeat, AMTMaskFeatViT
from .simmim import (
    AMTBEiTPretrainViT,
    AMTSimMIM,
    AMTSimMIMHead,
    AMTSimMIMLinearDecoder,
    AMTSimMIMViT,
)
from .vitdet import SimpleFPN, ViTDet

__all__ = [
    'AMTBEiTPretrainViT', 'AMTCrossDecoder', 'AMTDataPreprocessor',
    'AMTHOGGenerator', 'AMTMAE', 'AMTMAEPretrainDecoder',
    'AMTMAEPretrainHead', 'AMTMAEViT', 'AMTMaskFeat', 'AMTMaskFeatViT',
    'AMTSimMIM', 'AMTSimMIMHead', 'AMTSimMIMLinearDecoder', 'AMTSimMIMViT',
    'BaseAMT', 'SimpleFPN', 'ViTDet'
]
