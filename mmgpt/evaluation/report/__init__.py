"""What an evaluation gave, to be looked at: a page and a Markdown table; two runs compared."""

from mmgpt.evaluation.report.comparison import Comparison, compare
from mmgpt.evaluation.report.page import markdown, page
from mmgpt.evaluation.report.run import Run

__all__ = ['Comparison', 'Run', 'compare', 'markdown', 'page']
