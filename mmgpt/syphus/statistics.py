"""What a set consists of: counts, lengths, capabilities, and the verbs and nouns of its instructions."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from mmgpt.syphus.english import AUXILIARY, FUNCTION, VERBS, base_form
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
MOST_WORDS = 50_000  # that are counted at a time; beyond, those that came once are forgotten


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
        if word in AUXILIARY:
            after_auxiliary = True
        elif verb is None and (base_form(word) in VERBS and word not in FUNCTION):
            before = words[place - 1] if place else ''
            if before not in ('a', 'an', 'the', 'his', 'her', 'their', 'my'):
                verb = base_form(word)
                continue
        elif verb is None and after_auxiliary and len(word) > 4 and word.endswith('ing'):
            verb = base_form(word)
            continue
        if noun is None and word not in FUNCTION and word not in AUXILIARY and place and not word.endswith('ly'):
            before = words[place - 1]
            if before in FUNCTION or before in VERBS:
                follows = words[place + 1] if place + 1 < len(words) else ''
                plain = (
                    follows and follows not in FUNCTION and follows not in AUXILIARY and base_form(follows) not in VERBS
                )
                noun = follows if plain and not follows.endswith(('ing', 'ly')) else word
    if verb is None and after_auxiliary:
        verb = 'be'
    return verb, noun


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
            if len(counter) > MOST_WORDS:
                _drop_rare(counter)
    told = {'en': {'kept': sum(files.values()), 'dropped': {}}}
    told |= {language: _translated(state, language) for language in languages}
    per_item = state.tally(
        'SELECT c, count(*) FROM (SELECT count(*) c FROM pairs WHERE verdict = ? GROUP BY n) GROUP BY c', (KEPT,)
    )
    query = 'SELECT count(DISTINCT instruction) FROM pairs WHERE verdict = ?'
    (unique,) = state.base.execute(query, (KEPT,)).fetchone()
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


def _drop_rare(counter: Counter[str]) -> None:
    for word in [word for word, count in counter.items() if count == 1]:
        del counter[word]


def _translated(state: State, language: str) -> dict[str, Any]:
    """How many translations into a language were kept, and how many each check has dropped."""
    counts = state.tally(
        'SELECT t.verdict, count(*) FROM translations t JOIN pairs ON pairs.id = t.pair WHERE language = ? AND '
        'pairs.verdict = ? GROUP BY 1',
        (language, KEPT),
    )
    return {'kept': counts.pop(KEPT, 0), 'dropped': counts}
