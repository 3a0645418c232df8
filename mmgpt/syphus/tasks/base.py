"""What every task is, and the generic one for annotations of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmgpt.data.converters.instructions import Relate
from mmgpt.registry import SYPHUS_TASKS
from mmgpt.syphus.items import Item
from mmgpt.syphus.prompt import Prompt, read_prompt, shipped_prompt

Capability = Literal['perception', 'reasoning', 'planning']


class Task:
    """What is said about an item, part by part.

    A subclass names its prompts and writes a query from an annotation.

    Args:
        name: of the files and the beginning of the ids; None: the task's own, such as 'DC'.
        prompt: a prompt file in place of the shipped one (of each part, where there are several: part -> file).
        pairs: how many pairs are asked for of each item.
    """

    name: ClassVar[str] = ''
    prompts: ClassVar[dict[str, str]] = {}  # part -> shipped prompt; '' = the only part
    relate: ClassVar[Relate] = 'others'  # the context of a pair: the other pairs of its item, the earlier ones, or none
    capability: ClassVar[Capability] = 'perception'  # of a pair whose words do not tell

    def __init__(self, name: str | None = None, prompt: str | dict[str, str] | None = None, pairs: int = 3) -> None:
        if not isinstance(pairs, int) or pairs < 1:
            raise ValueError(f'pairs must be an integer of at least 1, got {pairs!r}')
        self.subset = name or self.name
        if not re.fullmatch(r'[\w.-]+', self.subset):
            raise ValueError(f'name begins file names and ids: letters, digits, "_", "-" and ".", got {self.subset!r}')
        self.number = pairs
        given = {'': prompt} if isinstance(prompt, str | Path) else prompt or {}
        if unknown := set(given) - set(self.parts):
            raise ValueError(f'prompt: there is no part {sorted(unknown)[0]!r}; parts are {list(self.parts)}')
        self._prompts = {
            part: read_prompt(given[part]) if part in given else shipped_prompt(self.prompts[part])
            for part in self.parts
        }

    @property
    def parts(self) -> Sequence[str]:
        """What each item is asked for: its pairs make a file of their own each."""
        return tuple(self.prompts)

    def prompt(self, part: str) -> Prompt:
        """What is said before the queries of a part, as it was written: with ``{pairs}`` in it."""
        return self._prompts[part]

    def filled(self, prompt: Prompt) -> Prompt:
        """A prompt with the number of pairs in place of ``{pairs}``."""
        return prompt._replace(system=prompt.system.replace('{pairs}', str(self.number)))

    def query(self, item: Item, part: str = '') -> str:
        """What is said about an item.

        Raises:
            ValueError: the annotation is not of the form that the task reads.
        """
        return as_text(item.annotation)

    def facts(self, item: Item) -> str:
        """The text that answers may rest on."""
        return self.query(item, self.parts[0])

    def file_name(self, part: str) -> str:
        """The ``XX`` of the part's files and ids."""
        return self.subset

    def relation(self, part: str) -> Relate:
        """How the pairs of an item are each other's context."""
        return self.relate

    def checked(self, item: Item) -> Item:
        """The item, if queries can be written from it.

        Raises:
            ValueError: its annotation is not of the form that the task reads, or says nothing.
        """
        for part in self.parts:
            try:
                query = self.query(item, part)
            except ValueError as error:
                if str(error).startswith(f'{item.id}: '):
                    raise
                raise self.wrong(item, f'another form of annotation ({error})') from None
            except (AttributeError, TypeError, KeyError, IndexError) as error:
                raise self.wrong(item, f'another form of annotation ({type(error).__name__}: {error})') from None
            if not query.strip():
                raise self.wrong(item, 'an annotation that says something')
        return item

    def wrong(self, item: Item, expected: str) -> ValueError:
        """An error about an annotation."""
        return ValueError(f'{item.id}: {type(self).__name__} expected {expected}, got {str(item.annotation)[:80]}')


@SYPHUS_TASKS.register_module()
class Annotations(Task):
    """Annotations of one's own: a config and a prompt file, no code.

    Args:
        name: of the files and the beginning of the ids, such as 'BIRD'.
        prompt: the prompt file.
        template: of the query, with ``{annotation}``, ``{id}``, ``{pairs}`` or members of the annotation in braces,
            such as ``'Species: {species}; place: {place}'``. None: the annotation itself.
        relate: the context of a pair: the 'others' of its item, the 'earlier' ones, or 'none'.
        capability: of pairs whose words do not tell.
        pairs: how many are asked for; stands for ``{pairs}`` in the prompt.
    """

    prompts = {'': ''}

    def __init__(
        self,
        name: str,
        prompt: str,
        template: str | None = None,
        relate: Relate = 'others',
        capability: Capability = 'perception',
        pairs: int = 3,
    ) -> None:
        super().__init__(name, prompt, pairs)
        if relate not in ('others', 'earlier', 'none'):
            raise ValueError(f"relate must be 'others', 'earlier' or 'none', got {relate!r}")
        if not isinstance(template, str | None):
            raise ValueError(f'template must be a text with names in braces, got {template!r}')
        self.template, self.relate, self.capability = template, relate, capability

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        if self.template is None:
            return as_text(item.annotation)
        members = item.annotation if isinstance(item.annotation, dict) else {}
        values = {'pairs': self.number, **members, 'annotation': item.annotation, 'id': item.id}

        def value(mark: re.Match[str]) -> str:
            if mark[1] in values:
                return as_text(values[mark[1]])
            if mark[1].isidentifier():
                raise self.wrong(item, f'a member {mark[1]!r}, which the template names')
            return mark[0]

        return re.sub(r'\{([^{}]+)\}', value, self.template)


def as_text(value: Any) -> str:
    """An annotation as text: texts line by line, anything else as JSON."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return '\n'.join(part.strip() for part in value)
    if isinstance(value, dict) and all(isinstance(part, str | int | float) for part in value.values()):
        return '\n'.join(f'{name}: {part}' for name, part in value.items())
    return json.dumps(value, ensure_ascii=False)


def sentences(value: Any) -> list[str] | None:
    """Sentences given as a list, or as the lines of a text; None for anything else."""
    if isinstance(value, str):
        return [line.strip() for line in value.split('\n') if line.strip()] or None
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return [part.strip() for part in value if part.strip()] or None
    return None


def numbered(lines: Sequence[str]) -> str:
    """'1. …' line by line."""
    return '\n'.join(f'{place}. {line}' for place, line in enumerate(lines, 1))
