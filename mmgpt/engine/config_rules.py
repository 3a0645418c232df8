"""The kinds of rules that a config is checked with."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmgpt.engine.config_source import ConfigSource, Fault, Key, did_you_mean
from mmgpt.engine.signatures import Argument, Arguments, arguments_of, misfit
from mmgpt.registry import Registry

Rule = Callable[[Key, Any], None]


class Rules:
    """Collects the faults of a config; makes rules, which are functions of a key and the value there.

    Args:
        source: tells file and line of a fault.
    """

    def __init__(self, source: ConfigSource):
        self.source = source
        self.faults: list[Fault] = []
        self._told: set[tuple] = set()
        self.slots: dict[str, Rule] = {}  # what stands under a key of this name, wherever that is

    def member(
        self,
        registry: Any,
        also: Sequence[str] | Arguments = (),
        given: Sequence[str] = (),
        default: str | None = None,
        built: bool = False,
    ) -> Rule:
        """A dict with 'type', a name in ``registry``, and the arguments of what the name stands for.

        Args:
            registry: where the names are.
            also: keys that are taken beside the constructor's, with what they take where that is known.
            given: arguments that the builder passes, not the config.
            default: the type of a dict that names none.
            built: try the constructor: it costs nothing.
        """

        def rule(key: Key, value: Any) -> None:
            if not isinstance(value, Mapping):
                self.fault(key, f"expected a dict with the key 'type', got {value!r}")
                return
            member = self.type_of(key, value, registry, default)
            if member is None:
                return
            arguments, is_open = arguments_of(member)
            arguments = {name: argument for name, argument in arguments.items() if name not in given}
            arguments |= also if isinstance(also, Mapping) else dict.fromkeys(also, Argument())
            before = len(self.faults)
            self.arguments(key, value, arguments, is_open)
            self.inside(key, value, member)
            if built and len(self.faults) == before:
                try:
                    member(**{name: item for name, item in value.items() if name != 'type' and name not in also})
                except Exception as error:
                    self.fault(key, f'{member.__name__}: {error}')

        return rule

    def call(self, function: Callable) -> Rule:
        """A dict of a function's arguments; the function is tried."""

        def rule(key: Key, value: Mapping) -> None:
            before = len(self.faults)
            self.arguments(key, value, arguments_of(function)[0])
            if len(self.faults) == before:
                try:
                    function(**value)
                except Exception as error:
                    self.fault(key, f'{key[-1]}: {error}')

        return rule

    def keys(self, arguments: Arguments) -> Rule:
        """A dict of just these keys."""
        return lambda key, value: self.arguments(key, value, arguments)

    def options(self, arguments: Arguments) -> Rule:
        """True or False, or a dict of some of these keys."""
        return lambda key, value: self.arguments(key, value, arguments) if isinstance(value, Mapping) else None

    def each(self, rule: Rule) -> Rule:
        """A list of what ``rule`` describes, or one of it."""

        def every(key: Key, value: Any) -> None:
            if isinstance(value, Mapping):
                rule(key, value)
            elif isinstance(value, (list, tuple)):
                for number, item in enumerate(value):
                    rule((*key, number), item)
            elif value is not None:
                self.fault(key, f'{key[-1]}: expected a list of dicts, got {value!r}')

        return every

    def fault(self, key: Key, message: str) -> None:
        """Note a fault at a key."""
        where = '.'.join(map(str, key[:-1]))
        fault = self.source.fault(key, f'{where}: {message}' if where else message)
        if (fault.file, fault.line, message) not in self._told:  # what several places share is told once
            self._told.add((fault.file, fault.line, message))
            self.faults.append(fault)

    def value(self, key: Key, value: Any, hint: Any) -> bool:
        """Whether a value is what a type hint asks for."""
        wrong = misfit(value, hint)
        if wrong:
            self.fault(key, f'{key[-1]}: {wrong}')
        return not wrong

    def type_of(self, key: Key, value: Mapping, registry: Any, default: str | None = None) -> type | None:
        """What the 'type' of a dict stands for, None where it names nothing."""
        name = value.get('type', default)
        if name is None:
            self.fault((*key, ''), f"no 'type' is named{near_key('type', value)}")
        elif not isinstance(name, str):
            return name
        else:
            known = registry.names() if isinstance(registry, Registry) else list(registry.module_dict)
            if name.rpartition('.')[2] in known:
                return registry.get(name)
            self.fault((*key, 'type'), f'there is no {registry.name} named {name!r}{did_you_mean(name, known)}')
        return None

    def arguments(self, key: Key, value: Mapping, arguments: Arguments, is_open: bool = False) -> None:
        """Check the keys of a dict, their values, and what lies below them."""
        for name, item in value.items():
            if name in ('type', '_delete_', '_scope_'):
                continue
            if name not in arguments:
                if not is_open:
                    self.fault((*key, name), f'unknown key {name!r}{did_you_mean(name, [*arguments, "type"])}')
                continue
            rule = self.slots.get(name)
            if rule is None or item is None or not isinstance(item, (Mapping, list, tuple)):
                self.value((*key, name), item, arguments[name].hint)
            else:
                rule((*key, name), item)
        for name, argument in arguments.items():
            if argument.required and name not in value:
                self.fault((*key, ''), f'the key {name!r} is missing{near_key(name, value)}')

    def inside(self, key: Key, value: Mapping, member: type) -> None:
        """What a member's dict holds beyond arguments; nothing here."""


def near_key(name: str, value: Mapping) -> str:
    """'; did you mean …?' with the present key that may be the missing one, misspelt."""
    close = difflib.get_close_matches(name, [str(key) for key in value], n=1, cutoff=0.5)
    return f'; did you mean {name!r} where it says {close[0]!r}?' if close else ''
