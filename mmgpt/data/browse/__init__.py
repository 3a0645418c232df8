"""What a model will really see of data sets, as lines of JSON and as a page for a browser."""

from mmgpt.data.browse.page import write_page
from mmgpt.data.browse.rows import Row, packed, rows, without_augmentation

__all__ = ['Row', 'packed', 'rows', 'without_augmentation', 'write_page']
