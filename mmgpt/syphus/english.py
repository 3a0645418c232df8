"""Words of English by their kind: no model of a tagger is to be fetched for telling names, verbs and nouns."""

from __future__ import annotations

_words = str.split
AUXILIARY = set(
    _words(
        """is are was were be been being am do does did has have had can could will would shall should may
        might must need dare isn't aren't wasn't weren't don't doesn't didn't hasn't haven't can't couldn't
        won't wouldn't shouldn't"""
    )
)
FUNCTION = set(
    _words(
        """a an the this that these those my your his her its our their some any each every no both all which
        what who whom whose when where why how i you he she it we they me him us them there here of in on at
        by for with from to into onto about as and or but if so not than then too very more most other
        another one first second third last next before after while during between behind under over near
        beside against through please just also only ever still yet up down out off someone somebody anyone
        anybody everyone something anything everything much many few several such same own is's"""
    )
)
VERBS = set(
    _words(
        """describe explain tell list name identify compare summarize summarise suggest give write find count
        show say see look wear wears hold use make take put get go come happen change do feel think play
        ride walk run stand sit eat drink cook open close read watch help begin start end stop move carry
        bring leave appear disappear differ plan prepare arrange want need know mean cause seem become turn
        work point wait talk speak laugh smile cut clean fix repair build draw paint throw catch jump swim
        dance sing drive call"""
    )
)


def base_form(word: str) -> str:
    """The base form of an English verb: of those in ``VERBS`` by looking, of others in -ing by rule."""
    if word in VERBS:
        return word
    for ending, instead in (('ing', ''), ('ing', 'e'), ('ies', 'y'), ('es', ''), ('s', ''), ('ed', ''), ('ed', 'e')):
        if word.endswith(ending) and word[: -len(ending)] + instead in VERBS:
            return word[: -len(ending)] + instead
    if word.endswith('ing') and len(word) > 5:
        stem = word[:-3]
        return stem[:-1] if stem[-1] == stem[-2] and stem[-1] not in 'ls' else stem
    return word
