"""Which prompts are asked together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mmgpt.evaluation.items import Prompt


def plan_batches(
    prompts: Sequence[Prompt], lengths: Sequence[int], batch_size: int, equal_lengths: bool = False
) -> list[list[int]]:
    """Places of prompts, batch by batch: those with the same demonstrations together, and of like length.

    The plan is a function of the prompts alone, not of who asks or of what is answered already, so that an answer that
    depends on its batch by a rounding is the same for any number of processes and after an interruption.

    Args:
        prompts: all of them.
        lengths: of each.
        batch_size: at most so many together.
        equal_lengths: only prompts of one length are put together, so that none is padded; so are always those with the
            same demonstrations, which are computed once for all batches.

    Returns:
        the longest first, so that what does not fit into memory shows at once.

    Example:
        >>> from mmgpt.evaluation.items import Item
        >>> plan_batches([Prompt((), Item(i)) for i in range(3)], [5, 9, 5], 2)
        [[1], [0, 2]]
    """
    together: dict[tuple, list[int]] = {}
    for place, prompt in enumerate(prompts):
        key = tuple((item.id, item.answer, item.media) for item in prompt.demonstrations)
        together.setdefault(key, []).append(place)
    # who shares demonstrations with nobody, or has none, is put beside any other
    single = [place for key, places in together.items() if len(places) == 1 or not key for place in places]
    batches = _cut(single, lengths, batch_size, equal_lengths)
    for key, places in together.items():
        if key and len(places) > 1:
            batches += _cut(places, lengths, batch_size, equal=True)
    return batches


def _cut(places: list[int], lengths: Sequence[int], batch_size: int, equal: bool) -> list[list[int]]:
    ordered = sorted(places, key=lambda place: (-lengths[place], place))
    groups = [list(group) for _, group in groupby(ordered, lengths.__getitem__)]
    if not equal:  # whole batches of one length, which need no pads; what is left over stands together
        whole = [group[: len(group) // batch_size * batch_size] for group in groups]
        groups = [*whole, [place for group, few in zip(groups, whole, strict=True) for place in group[len(few) :]]]
    batches = [group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)]
    return sorted(batches, key=lambda batch: -lengths[batch[0]])
