"""Benchmarks of yes and no: MME (arXiv 2306.13394) and POPE (arXiv 2305.10355), by their official rules."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from mmgpt.evaluation.items import Answer, Generation, Item, Scores
from mmgpt.evaluation.tasks.records import Record, RecordTask
from mmgpt.registry import EVALUATION_TASKS

YES_NO = {'yes': 'yes', 'no': 'no'}
PERCEPTION = (
    'existence', 'count', 'position', 'color', 'posters', 'celebrity', 'scene', 'landmark', 'artwork', 'ocr',
)  # fmt: skip
COGNITION = ('commonsense', 'numerical', 'text', 'code')
# as Otter's and MultiModal-GPT's users run these suites
OTTER = Generation(max_new_tokens=512, num_beams=3, no_repeat_ngram_size=3)


@EVALUATION_TASKS.register_module()
class MME(RecordTask):
    """Fourteen kinds of perception and cognition; two questions about each picture.

    A kind scores 100 times its accuracy and 100 times accuracy+, the share of pictures with all questions right.
    ``perception`` (2000 at most) and ``cognition`` (800) are sums over their kinds, ``total`` is the sum of both.

    Args:
        records: ``id`` (``{category}_…``), ``instruction``, ``answer`` (Yes or No), ``images``.
        images: see :class:`RecordTask`.
    """

    name = 'mme'
    main = 'total'
    answering = OTTER
    where = 'https://huggingface.co/datasets/Otter-AI/MME'

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        id = record.text('id', 'question_id')
        category = str(record.get('category', default=id)).lower().split('/')[0].split('_')[0]
        if category not in PERCEPTION + COGNITION:
            known = ', '.join(PERCEPTION + COGNITION)
            raise ValueError(f"{record.where}: {category!r}, the beginning of 'id', is no category of MME: {known}")
        media = record.pictures('images', 'image')
        picture = record.get('image_id') or '+'.join(self.digest(medium.frames[0]) for medium in media) or id
        return Item(
            id=f'{record.place}:{id}',
            question=record.text('instruction', 'question'),
            media=media,
            references=record.one_of(YES_NO, 'answer'),
            about={'category': category, 'picture': picture},
        )

    def unit(self, item: Item) -> Hashable:
        """See :class:`EvaluationTask`; the questions about a picture."""
        return item.about['category'], item.about['picture']

    def clean(self, text: str) -> str:
        """Yes, no or other: the whole reply, or else what its first four letters hold."""
        text = text.lower().strip().replace('.', '')
        if text in YES_NO:
            return text
        return next((word for word in YES_NO if word in text[:4]), 'other')

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        right = [answer.text == item.references for item, answer in zip(items, answers, strict=True)]
        groups: dict[str, dict[str, list[bool]]] = {}
        for item, correct in zip(items, right, strict=True):
            groups.setdefault(item.about['category'], {}).setdefault(item.about['picture'], []).append(correct)
        figures = {}
        for category in PERCEPTION + COGNITION:
            if category in groups:
                pictures = list(groups[category].values())
                single = [correct for few in pictures for correct in few]
                figures[category] = 100 * sum(single) / len(single) + 100 * sum(map(all, pictures)) / len(pictures)
        sums = {'perception': PERCEPTION, 'cognition': COGNITION, 'total': PERCEPTION + COGNITION}
        overall = {name: sum(figures.get(category, 0.0) for category in few) for name, few in sums.items()}
        counted = confusion([item.references for item in items], [answer.text for answer in answers])
        precise = {name: counted[name] for name in ('precision', 'recall')}
        return Scores({**overall, **precise, **figures}, None)


@EVALUATION_TASKS.register_module()
class POPE(RecordTask):
    """Whether an object is in a picture: adversarial, popular and random ones.

    Figures are in per cent. The share of answers with yes is taken of the answers; Otter's code takes it of the truth.

    Args:
        records: ``question`` (or ``text``), ``answer`` (or ``label``) yes or no, ``image``, ``category``; the
            official files name theirs by the file: ``coco_pope_random.json``.
        images: see :class:`RecordTask`.
    """

    name = 'pope'
    main = 'f1'
    answering = OTTER
    where = 'https://huggingface.co/datasets/Otter-AI/POPE, or https://github.com/AoiDragon/POPE'
    categories = ('adversarial', 'popular', 'random')

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        named = (each for each in self.categories if each in self._path.stem.lower())
        category = record.get('category') or next(named, None)
        if category not in self.categories:
            raise ValueError(
                f"{record.where}: 'category' must be one of {', '.join(self.categories)}, here or in the file's name; "
                f'got {category!r}'
            )
        return Item(
            id=f'{record.place}:{record.get("id", "question_id", default=record.place)}',
            question=record.text('question', 'text'),
            media=record.pictures('image', 'images'),
            references=record.one_of(YES_NO, 'answer', 'label'),
            about={'category': category},
        )

    def clean(self, text: str) -> str:
        """No where the first sentence has the word no or not, else yes."""
        words = text.split('.')[0].replace(',', '').lower().split(' ')
        return 'no' if {'no', 'not'} & set(words) else 'yes'

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        truth, given = [item.references for item in items], [answer.text for answer in answers]
        by_category: dict[str, dict[str, float]] = {}
        for category in self.categories:
            places = [place for place, item in enumerate(items) if item.about['category'] == category]
            if places:
                few = confusion([truth[place] for place in places], [given[place] for place in places])
                by_category[category] = few
        figures = confusion(truth, given)
        named = {f'{category}/{name}': value for category, few in by_category.items() for name, value in few.items()}
        groups = {'category': {category: few[self.main] for category, few in by_category.items()}}
        return Scores({**figures, **named}, None, groups)


def confusion(truth: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """Counts and, in per cent, the figures that follow from them; 'yes' is what is to be found.

    An answer that is neither yes nor no counts as wrong, and as a no.

    Example:
        >>> confusion(['yes', 'yes', 'no', 'no'], ['yes', 'no', 'no', 'yes'])['f1']
        50.0
    """
    pairs = list(zip(truth, given, strict=True))
    tp, fp = (sum(t == word and g == 'yes' for t, g in pairs) for word in ('yes', 'no'))
    fn, tn = (sum(t == word and g != 'yes' for t, g in pairs) for word in ('yes', 'no'))
    wrong_no = sum(t == 'no' and g not in YES_NO for t, g in pairs)

    def share(part: float, whole: float) -> float:
        return 100 * part / whole if whole else 0.0

    precision, recall = share(tp, tp + fp), share(tp, tp + fn)
    return {
        'f1': 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        'accuracy': share(tp + tn - wrong_no, len(pairs)),
        'precision': precision,
        'recall': recall,
        'yes_ratio': share(tp + fp, len(pairs)),
        'tp': tp,
        'fp': fp,
        'tn': tn,
        'fn': fn,
    }
