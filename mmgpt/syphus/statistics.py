"""What a set consists of: counts, lengths, capabilities, and the verbs and nouns of its instructions."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from mmgpt.syphus.filters.texts import count_words
from mmgpt.syphus.stages.filter import KEPT
from mmgpt.syphus.state import State
from mmgpt.syphus.tasks import Task

PLANNING = re.compile(
    r'\b(plan|plans|planning|prepare|arrange|organi[sz]e|set up|steps?|recommend|suggest|advice|advise'
    r'|should (?:i|we|they|he|she)'
    r'|what (?:could|can|should) (?:i|we|they|he|she)|how (?:can|could|should|do) (?:i|we)|next)\b',
    re.I,
)
REASONING = re.compile(
    r'\b(why|how come|reason|explain|infer|imply|implies|suggests?|might|could|would|likely|probably|purpose'
    r'|because|what if'
    r'|cause|feel|feels|relationship|compare|mean|means|funny|story|happen next)\b',
    re.I,
)
CAPABILITIES = ('perception', 'reasoning', 'planning')

# The verbs and nouns are told by position and by lists of function words: no tagger's model is to be fetched for it.
_words = str.split
_AUXILIARY = set(
    _words(
        """is are was were be been being am do does did has have had can could will would shall should may
        might must need dare isn't aren't wasn't weren't don't doesn't didn't hasn't haven't can't couldn't
        won't wouldn't shouldn't"""
    )
)
_FUNCTION = set(
    _words(
        """a an the this that these those my your his her its our their some any each every no both all which
        what who whom whose when where why how i you he she it we they me him us them there here of in on at
        by for with from to into onto about as and or but if so not than then too very more most other
        another one first second third last next before after while during between behind under over near
        beside against through please just also only ever still yet up down out off someone somebody anyone
        anybody everyone something anything everything much many few several such same own is's"""
    )
)
_VERBS = set(
    _words(
        """describe explain tell list name identify compare summarize summarise suggest give write find count
        show say see look wear wears hold use make take put get go come happen change do feel think play
        ride walk run stand sit eat drink cook open close read watch help begin start end stop move carry
        bring leave appear disappear differ plan prepare arrange want need know mean cause seem become turn
        work point wait talk speak laugh smile cut clean fix repair build draw paint throw catch jump swim
        dance sing drive call"""
    )
)


def capability(instruction: str, default: str) -> str:
    """'planning', 'reasoning' or what the task says, by the words of an instruction.

    Example:
        >>> capability('Why does he smile?', 'perception'), capability('What is red?', 'perception')
        ('reasoning', 'perception')
    """
    if PLANNING.search(instruction):
        return 'planning'
    return 'reasoning' if REASONING.search(instruction) else default


def verb_and_noun(instruction: str) -> tuple[str | None, str | None]:
    """The first full verb of an English instruction and the first noun, as far as position and word lists tell.

    Example:
        >>> verb_and_noun('What is the man in the red coat holding?'), verb_and_noun('Describe the picture.')
        (('hold', 'man'), ('describe', 'picture'))
    """
    words = re.findall(r"[a-z]+(?:'[a-z]+)?", instruction.lower())
    verb = noun = None
    after_auxiliary = False
    for place, word in enumerate(words):
        if word in _AUXILIARY:
            after_auxiliary = True
        elif verb is None and (_base(word) in _VERBS and word not in _FUNCTION):
            before = words[place - 1] if place else ''
            if before not in ('a', 'an', 'the', 'his', 'her', 'their', 'my'):
                verb = _base(word)
                continue
        elif verb is None and after_auxiliary and len(word) > 4 and word.endswith('ing'):
            verb = _base(word)
            continue
        if noun is None and word not in _FUNCTION and word not in _AUXILIARY and place and not word.endswith('ly'):
            before = words[place - 1]
            if before in _FUNCTION or before in _VERBS:
                follows = words[place + 1] if place + 1 < len(words) else ''
                plain = (
                    follows and follows not in _FUNCTION and follows not in _AUXILIARY and _base(follows) not in _VERBS
                )
                noun = follows if plain and not follows.endswith(('ing', 'ly')) else word
    if verb is None and after_auxiliary:
        verb = 'be'
    return verb, noun


def _base(word: str) -> str:
    if word in _VERBS:
        return word
    for ending, instead in (('ing', ''), ('ing', 'e'), ('ies', 'y'), ('es', ''), ('s', ''), ('ed', ''), ('ed', 'e')):
        if word.endswith(ending) and word[: -len(ending)] + instead in _VERBS:
            return word[: -len(ending)] + instead
    if word.endswith('ing') and len(word) > 5:
        stem = word[:-3]
        return stem[:-1] if stem[-1] == stem[-2] and stem[-1] not in 'ls' else stem
    return word


def statistics(state: State, task: Task, languages: list[str]) -> dict[str, Any]:
    """The figures of what was kept.

    Returns:
        ``{"kept", "files": {XX: n}, "capabilities", "languages": {code: {"kept", "dropped": {check: n}}}, "words":
        {"instruction": {words: n}, "answer": …}, "verbs": {verb: n}, "nouns": …, "verb_noun": {"verb noun": n},
        "pairs_per_item": {pairs: n}, "unique_instructions"}``, most frequent first.
    """
    capabilities: Counter[str] = Counter(dict.fromkeys(CAPABILITIES, 0))
    verbs: Counter[str] = Counter()
    nouns: Counter[str] = Counter()
    both: Counter[str] = Counter()
    words: dict[str, Counter[int]] = {'instruction': Counter(), 'answer': Counter()}
    files: Counter[str] = Counter({task.file_name(part): 0 for part in task.parts})
    query = 'SELECT id, part, instruction, answer FROM pairs WHERE verdict = ? AND id > ? ORDER BY id'
    for _, part, instruction, answer in state.rows(query, (KEPT,)):
        files[task.file_name(part)] += 1
        default = 'reasoning' if part == 'reasoning' else task.capability
        capabilities[capability(instruction, default)] += 1
        words['instruction'][count_words(instruction)] += 1
        words['answer'][count_words(answer)] += 1
        verb, noun = verb_and_noun(instruction)
        verbs.update([verb] if verb else ())
        nouns.update([noun] if noun else ())
        both.update([f'{verb} {noun}'] if verb and noun else ())
        for counter in (verbs, nouns, both):
            if len(counter) > 50_000:  # rare words of a very large set
                for word in [word for word, count in counter.items() if count == 1]:
                    del counter[word]
    told: dict[str, Any] = {'en': {'kept': sum(files.values()), 'dropped': {}}}
    for language in languages:
        counts = state.tally(
            'SELECT t.verdict, count(*) FROM translations t JOIN pairs ON pairs.id = t.pair WHERE language = ? AND '
            'pairs.verdict = ? GROUP BY 1',
            (language, KEPT),
        )
        told[language] = {'kept': counts.pop(KEPT, 0), 'dropped': counts}
    per_item = state.tally(
        'SELECT c, count(*) FROM (SELECT count(*) c FROM pairs WHERE verdict = ? GROUP BY n) GROUP BY c', (KEPT,)
    )
    unique = state.base.execute('SELECT count(DISTINCT instruction) FROM pairs WHERE verdict = ?', (KEPT,)).fetchone()[
        0
    ]
    return {
        'kept': sum(files.values()),
        'unique_instructions': unique,
        'files': dict(files),
        'capabilities': dict(capabilities),
        'languages': told,
        'words': {name: {str(n): count for n, count in sorted(counter.items())} for name, counter in words.items()},
        'pairs_per_item': {str(n): count for n, count in sorted(per_item.items())},
        'verbs': dict(verbs.most_common(40)),
        'nouns': dict(nouns.most_common(40)),
        'verb_noun': dict(both.most_common(40)),
    }
