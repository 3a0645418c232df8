"""Which keys a config dict may have: those that the code behind it takes."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from mmgpt.engine.config_source import did_you_mean


@dataclass(frozen=True)
class Argument:
    """One key: what its value should be (a type hint), and whether it may be left out."""

    hint: Any = Any
    required: bool = False


Arguments = dict[str, Argument]


def arguments_of(function: Callable) -> tuple[Arguments, bool]:
    """The arguments of a class or function by name, and whether it takes others too.

    Where a constructor passes its ``**kwargs`` on, those of the base classes are included.

    Example:
        >>> arguments_of(lambda depth, heads=8: None)
        ({'depth': Argument(hint=typing.Any, required=True), 'heads': Argument(hint=typing.Any, required=False)}, False)
    """
    if dataclasses.is_dataclass(function) or not inspect.isclass(function):
        return _arguments(function)
    found: Arguments = {}
    for base in function.__mro__:
        if '__init__' not in vars(base) or base is object:
            continue
        arguments, is_open = _arguments(base.__init__)
        found = {**arguments, **found}
        if not is_open:
            return found, False
    return found, True


def _arguments(function: Callable) -> tuple[Arguments, bool]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return {}, True
    owner = function if inspect.isfunction(function) else getattr(function, '__init__', function)
    scope = getattr(owner, '__globals__', {})
    if inspect.isclass(function):
        scope = vars(inspect.getmodule(function))
    found, is_open = {}, False
    for name, parameter in signature.parameters.items():
        if name == 'self':
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            is_open = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            required = parameter.default is parameter.empty
            found[name] = Argument(_hint(parameter.annotation, scope), required)
    return found, is_open


def _hint(annotation: Any, scope: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if isinstance(annotation, str):
        try:
            return eval(annotation, dict(scope))  # an annotation of installed code
        except (NameError, AttributeError, TypeError, SyntaxError):
            return Any  # of what is imported for type checkers only, or words instead of a type
    return annotation


def misfit(value: Any, hint: Any) -> str | None:
    """What is wrong with a value, None where it fits; hints that say nothing about configs fit everything.

    Example:
        >>> misfit('squahs', Literal['squash', 'short_side_crop'])
        "expected 'squash' or 'short_side_crop', got 'squahs'; did you mean 'squash'?"
        >>> misfit(2, float), misfit(None, int)
        (None, 'expected int, got None')
    """
    if _fits(value, hint):
        return None
    words = [word for part in _options(hint) if typing.get_origin(part) is Literal for word in typing.get_args(part)]
    near = did_you_mean(value, words, or_list=False) if isinstance(value, str) else ''
    return f'expected {_name(hint)}, got {value!r}{near}'


def _options(hint: Any) -> tuple:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    if isinstance(value, bytes):  # no key takes them: a letter slipped in before a string
        return False
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is Literal:
        return value in typing.get_args(hint)
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if origin in (list, tuple, Sequence):
        items = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            return False
        if origin is tuple and items and items[-1] is not Ellipsis:
            return len(value) == len(items) and all(map(_fits, value, items))
        return not items or all(_fits(item, items[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


def _name(hint: Any) -> str:
    parts = []
    for part in _options(hint):
        if typing.get_origin(part) is Literal:
            parts += [repr(option) for option in typing.get_args(part)]
        elif part in (None, type(None)):
            parts.append('None')
        else:
            parts.append(str(part) if typing.get_args(part) else getattr(part, '__name__', str(part)))
    return ' or '.join(parts)
