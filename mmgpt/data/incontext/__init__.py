"""The in-context function C(I, X): which samples are shown before a sample. Retrievers give ids and know no pixels."""

from mmgpt.data.incontext.base import Choice, RandomInstructions, RelatedInstructions, Retriever
from mmgpt.data.incontext.shared import EarlierRounds, SharedMedia
from mmgpt.data.incontext.similar import FeatureTable, SimilarInstructions, similar_pairs, write_features

__all__ = [
    'Choice',
    'EarlierRounds',
    'FeatureTable',
    'RandomInstructions',
    'RelatedInstructions',
    'Retriever',
    'SharedMedia',
    'SimilarInstructions',
    'similar_pairs',
    'write_features',
]
