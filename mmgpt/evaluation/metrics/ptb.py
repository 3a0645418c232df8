"""Tokenises captions as COCO's scorers do: Penn Treebank tokens in lower case, without punctuation.

The published scorers call a Java program (the tokenizer of Stanford CoreNLP 3.4.1). This one gives the same tokens for
what captions hold; ``tests/evaluation/metrics/frozen`` has captions with the Java program's tokens, and the script that
made them. Where words are glued together without a blank (``Ph.D.-50%``), and on the rare forms that
``docs/evaluation.md`` names, the two may differ.
"""

from __future__ import annotations

import re
from functools import lru_cache

DROPPED = frozenset({"''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';'})
BRACKETS = {'(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-'}
SYMBOLS = {'£': '#', '€': '$', '¢': 'cents', '½': '1/2', '¼': '1/4', '¾': '3/4', '…': '...'}
SYMBOLS |= {'\u2013': '--', '\u2014': '--', '“': '``', '”': "''", '\u2018': '`', '"': "''"}
SPLIT = {  # words that are two tokens
    'cannot': ('can', 'not'),
    'gonna': ('gon', 'na'),
    'gotta': ('got', 'ta'),
    'lemme': ('lem', 'me'),
    'gimme': ('gim', 'me'),
    'wanna': ('wan', 'na'),
    "'tis": ("'t", 'is'),
    "'twas": ("'t", 'was'),
}

ABBREVIATIONS = """
mr mrs ms dr drs st mt prof gen col lt maj capt sgt adm gov sen rep rev hon pres messrs jr sr ave blvd rd corp inc ltd
co bros vs etc al fig dept est univ assn ft jan feb mar apr jun jul aug sep sept oct nov dec
"""  # their period belongs to them
APOSTROPHE = "['\u2019]"
ENDS = rf'{APOSTROPHE}(?:s|m|d|re|ve|ll)(?![\w])'  # of words, tokens of their own
DOMAIN = r'(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov)(?![\w])'
STARTS = """
A An And As At But By For From He Her His How I If In It Its No Not Now On One She So That The Their There These They
This Those To We What When Where While Who You
"""  # of sentences: a period before them ends one
ABBREVIATED, BEGINNING = ('|'.join(words.split()) for words in (ABBREVIATIONS, STARTS))
A = r'[^\W_½¼¾⅓⅔]'  # letters and digits
INNER = rf"[a-z]+[aeiouy](?!{ENDS})'(?-i:[aeiouA-Z])[a-z]*|c'mon|s'mores|e'er"  # words with an apostrophe
PATTERN = re.compile(
    rf"""
    (?P<whole>
        https?://[^\s"<>|()]*[^\s"<>|().!?-] | [\w.+-]+@[^\s<>|"().]+(?:\.[^\s<>|"().]+)+
      | {DOMAIN}(?:/[^\s"<>]*[^\s"<>.,;:!?)'])?
      | [#@][^\W\d_]\w*
      | [:;=]-?[()]+(?!\w) | [:;=]-?[dp](?!\w) | </?[a-z][^\s<>]*>
      | (?:[a-z]\.){{2,}}(?:[a-z](?![\w.]))? | ph\.d\. | (?<![\w.])[a-z]\.(?!\w|\s+(?-i:{BEGINNING})\b)
      | (?:{ABBREVIATED})\.(?!\w) | nos?\.(?=\s?\d)
      | {APOSTROPHE}n{APOSTROPHE} | {APOSTROPHE}(?:em|til|cause|(?<!\d.)\d\ds?)(?!\w)
      | y{APOSTROPHE}(?=all(?!\w))
      | (?!\w{ENDS})(?:[odl]{APOSTROPHE}[^\W\d_]{A}* | {INNER}) | (?:ol|somethin|dunkin)'(?!\w)
      | {A}+(?:-{A}+)*_{A}+(?:[-_]{A}+)*
      | \d+/\d+/\d+ | \d+/\d+(?:-?{A}+(?:[-/]{A}+)*)?
      | (?:(?<![\w'.])[-+])?\d+(?:[.,:]\d+)+ | (?:[.,:]\d+)+ | (?<![\w'.])[-+]\d+
      | [^\W\d_]+(?:/[^\W\d_]+)+
      | (?-i:[A-Z]+&[A-Z]+)(?!\w)
    )
  | (?P<split>{APOSTROPHE}t(?:is|was)(?!\w) | (?:cannot|gonna|gotta|lemme|gimme|wanna)(?!\w|-\w))
  | (?P<not>{A}*?n{APOSTROPHE}t(?!\w))
  | (?P<end>{ENDS})
  | (?P<word>{A}+(?:-{A}+)*(?:\.[^\W\d_]+)*\.(?=[,;:])
      | {A}+?(?:-{A}+)*(?:\.[^\W\d_]+)*(?=n{APOSTROPHE}t(?!\w)|[^\w]|_|[½¼¾⅓⅔]|$))
  | (?P<mark>\.\.\.|[!?]+|-+|_+|\S)
    """,
    re.IGNORECASE | re.VERBOSE,
)


@lru_cache(maxsize=2**17)
def tokenize(text: str) -> str:
    """The tokens of a caption with one blank between them.

    Example:
        >>> tokenize("A man's dog, isn't it?")
        "a man 's dog is n't it"
    """
    tokens = []
    for match in PATTERN.finditer(text):
        tokens += _tokens(match.lastgroup, match.group())
    return ' '.join(token for token in tokens if token not in DROPPED)


def _tokens(kind: str, text: str) -> list[str]:
    text = text.lower().replace('\u2019', "'")
    if kind == 'not':
        return [text[:-3], text[-3:]] if len(text) > 3 else [text]
    if kind == 'split':
        return list(SPLIT[text])
    if kind == 'mark' and text[0] == '-':
        return ['-' if len(text) == 1 else '--']
    return [''.join(BRACKETS.get(letter) or SYMBOLS.get(letter, letter) for letter in text)]
