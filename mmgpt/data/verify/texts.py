"""Checks of what a sample says: marks, answers, and the labels that are made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor

from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Template
from mmgpt.data.verify.findings import Fault
from mmgpt.structures import IGNORE_INDEX, Sample

_INVISIBLE = re.compile(r'[\s\u200b-\u200f\u2060\ufeff]+')  # blanks of all kinds, and characters without width


class TextCheck:
    """Checks samples against the template and tokenizer they will be trained with.

    Args:
        template: its special tokens must not stand in texts.
        prompter: makes the labels, and knows how an answer and a text end, which must not stand in texts either; None =
            there is no fitting tokenizer, and labels are not checked.
    """

    def __init__(self, template: Template, prompter: Prompter | None) -> None:
        self.template = template
        self.prompter = prompter
        ends, tokens = (), template.special_tokens
        if prompter is not None:
            ends = (prompter.stop_token_id, prompter.tokenizer.eos_token_id)
            tokens = (*tokens, prompter.template.stop_token, prompter.tokenizer.eos_token)
        self._no_answer = {IGNORE_INDEX, *ends}
        self._tokens = tuple(filter(None, dict.fromkeys(tokens)))

    def __call__(self, sample: Sample, max_seq_len: int | None = None) -> Iterator[Fault]:
        """The faults of a sample.

        Args:
            sample: without its context, which is left out first where a row is too long.
            max_seq_len: limit of a row's text in tokens; None = no limit.
        """
        sound = True
        for fault in (*self._texts(sample), *self._answers(sample)):
            sound = False
            yield fault
        if sound and self.prompter is not None:
            yield from self._labels(sample, max_seq_len)

    def _texts(self, sample: Sample) -> Iterator[Fault]:
        for turn in sample.turns:
            text = f'{turn.text}\n{turn.input}'.strip()
            for token in self._tokens:
                if token not in text:
                    continue
                what = f'the text of the {turn.role} turn holds {token!r}: {_around(text, token)!r}'
                if token == self.template.media_token:
                    yield Fault(
                        'image_count',
                        f'{what}, and no image stands behind it; the template writes a mark for each of the images',
                        'take the mark out of the text, and name its image where the format has the images',
                    )
                else:
                    yield Fault('split_token', f'{what}, which would split the sample there', 'take it out of the text')

    def _answers(self, sample: Sample) -> Iterator[Fault]:
        answers = [turn.text for turn in sample.turns if turn.role == 'assistant']
        for number, answer in enumerate(answers):
            if not _INVISIBLE.sub('', answer):
                which = f'answer {number + 1} of {len(answers)}' if len(answers) > 1 else 'the answer'
                yield Fault('empty_answer', f'{which} is {answer!r}', 'write an answer, or take the sample out')

    def _labels(self, sample: Sample, max_seq_len: int | None) -> Iterator[Fault]:
        try:
            whole = self.prompter.encode(sample.turns)
        except ValueError as error:
            yield Fault('wrong_type', str(error), 'write the turns as the template has them')
            return
        answers = self._supervised(whole.labels)
        if not answers:
            yield Fault(
                'empty_answer',
                f'nothing that could be trained is left of the answer once the template has cleaned it: '
                f'{sample.turns[-1].text[:60]!r}',
                'write an answer, let the template keep its symbols, or take the sample out',
            )
        elif max_seq_len is not None and len(whole.input_ids) > max_seq_len:
            cut = self.prompter.encode(sample.turns, max_seq_len=max_seq_len)
            left = self._supervised(cut.labels)
            if left < answers:
                size = f'{len(whole.input_ids)} tokens, the limit is max_seq_len={max_seq_len}'
                lost = f'{answers - left} of {answers} tokens of its answers are lost'
                fix = 'raise max_seq_len, shorten the texts, or split the sample'
                yield Fault('truncated_answer', f'the sample has {size}: {lost}', fix)
                if not left:
                    yield Fault('no_target', f'no answer is left to be trained: the sample has {size}', fix)

    def _supervised(self, labels: Tensor) -> int:
        """How many labels are tokens of answers, and not just their ends."""
        return sum(label not in self._no_answer for label in labels.tolist())  # there are few: faster than by tensors


def _around(text: str, part: str) -> str:
    place = text.index(part)
    return text[max(0, place - 20) : place + len(part) + 20]
