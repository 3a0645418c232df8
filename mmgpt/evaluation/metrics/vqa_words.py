"""The words that VQA accuracy brings to one form."""

from __future__ import annotations

ARTICLES = frozenset({'a', 'an', 'the'})
COUNTED = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
NUMBERS = {'none': '0'} | {word: str(number) for number, word in enumerate(COUNTED)}
WRITTEN = """
'ow's'at 'twas I'd've I'm I've ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't
hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't
mightn't've must've mustn't needn't not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've
somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've
something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've wasn't we'd've
we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're
you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:place] + word[place + 1 :] for place, letter in enumerate(word) if letter == "'"]


# a word that lacks one apostrophe gets it; those with a capital are in the published table, where no word meets them
CONTRACTIONS = {lacking: word for word in WRITTEN.split() for lacking in _without_one_apostrophe(word)}
CONTRACTIONS["somebody'd"] = 'somebodyd'  # as published
