"""Figures of groups of items, by what ``about`` says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmgpt.evaluation.items import Item

Groups = dict[str, dict[str, float]]  # kind of group -> group -> figure


def by_group(items: Sequence[Item], kinds: Sequence[str], figure: Callable[[list[int]], float]) -> Groups:
    """The figure of each group of each kind.

    Args:
        items: those of which ``about`` does not say a kind are in none of its groups.
        kinds: keys of ``about``.
        figure: gives the figure of the items at some places.

    Example:
        >>> items = [Item(0, about={'topic': 'cats'}), Item(1, about={'topic': 'dogs'}), Item(2)]
        >>> by_group(items, ['topic', 'grade'], sum)
        {'topic': {'cats': 0, 'dogs': 1}}
    """
    groups: Groups = {}
    for kind in kinds:
        members: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            if item.about.get(kind) not in (None, ''):
                members.setdefault(str(item.about[kind]), []).append(place)
        if members:
            groups[kind] = {name: figure(places) for name, places in sorted(members.items())}
    return groups


def mean_by_group(items: Sequence[Item], each: Sequence[float], kinds: Sequence[str]) -> Groups:
    """The mean of each group's scores; ``each`` has one for every item."""
    return by_group(items, kinds, lambda places: sum(each[place] for place in places) / len(places))
