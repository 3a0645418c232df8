"""Filters: each drops pairs for one reason, is counted, and says of every pair what it found."""

from mmgpt.syphus.filters.base import Candidate, Filter
from mmgpt.syphus.filters.duplicates import Duplicates, NearDuplicates
from mmgpt.syphus.filters.grounding import Ungrounded
from mmgpt.syphus.filters.language import OtherLanguage
from mmgpt.syphus.filters.texts import Empty, Leakage, Length, Refusals, Unsafe
from mmgpt.syphus.filters.unsafe_model import UnsafeByModel

DEFAULT = (
    'Empty',
    'Length',
    'Refusals',
    'Leakage',
    'OtherLanguage',
    'Ungrounded',
    'Unsafe',
    'Duplicates',
    'NearDuplicates',
)

__all__ = [
    'DEFAULT',
    'Candidate',
    'Duplicates',
    'Empty',
    'Filter',
    'Leakage',
    'Length',
    'NearDuplicates',
    'OtherLanguage',
    'Refusals',
    'Ungrounded',
    'Unsafe',
    'UnsafeByModel',
]
