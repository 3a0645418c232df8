"""METEOR and SPICE, Java programs that pycocoevalcap brings."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from mmgpt.evaluation.metrics.captions import CaptionMetric
from mmgpt.registry import METRICS


class JavaMetric(CaptionMetric):
    """A scorer of pycocoevalcap's."""

    scorer: str  # module and class below pycocoevalcap

    def __init__(self) -> None:
        if shutil.which('java') is None:
            raise ImportError(
                f'{self.main} is a Java program, and there is no java: apt-get install default-jre-headless'
            )
        module, name = self.scorer.rsplit('.', 1)
        try:
            self._scorer = getattr(importlib.import_module(f'pycocoevalcap.{module}'), name)
        except ImportError as error:
            raise ImportError(f'{self.main} needs pycocoevalcap: pip install "mmgpt[evaluation]"') from error

    def of_tokens(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], None]:
        """See :class:`CaptionMetric`."""
        said = {number: list(few) for number, few in enumerate(references)}
        score, _ = self._scorer().compute_score(said, {number: [text] for number, text in enumerate(answers)})
        return {self.main: 100 * float(score)}, None


@METRICS.register_module()
class METEOR(JavaMetric):
    """METEOR 1.5 (https://aclanthology.org/W14-3348) x 100."""

    main, scorer = 'METEOR', 'meteor.meteor.Meteor'


@METRICS.register_module()
class SPICE(JavaMetric):
    """SPICE (arXiv 1607.08822) x 100.

    Its parser, Stanford CoreNLP 3.6.0, comes with no package: pycocoevalcap fetches it when it is told to, not in the
    middle of an evaluation. Java is given 8 GB of memory.
    """

    main, scorer = 'SPICE', 'spice.spice.Spice'

    def __init__(self) -> None:
        super().__init__()
        folder = Path(importlib.import_module('pycocoevalcap.spice').__file__).parent
        if not list(folder.glob('lib/stanford-corenlp-*-models.jar')):
            fetch = 'from pycocoevalcap.spice.get_stanford_models import get_stanford_models as get; get()'
            raise ImportError(f'SPICE needs Stanford CoreNLP, which is not there; fetch it: python -c "{fetch}"')
