"""Puts whole parameters into a model whose own are shared between processes, for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.dist import is_main_process
from torch import Tensor, nn

from mmgpt.engine.strategies.processes import on_main

Fetch = Callable[[nn.Parameter], Tensor | None]  # collective: the whole tensor on the first process, None on the others
Fill = Callable[[nn.Parameter, Tensor | None], None]  # collective: the other way round


@contextmanager
def whole_parameters(model: nn.Module, shared: Callable[[nn.Parameter], bool], fetch: Fetch) -> Iterator[None]:
    """A context in which the first process's modules hold whole parameters, in its host's memory; collective.

    Args:
        model: the bare model.
        shared: whether this process has only a part of a parameter.
        fetch: gathers one.
    """
    with _in_place(_places(model, shared), fetch):
        yield


def load_whole(
    model: nn.Module, shared: Callable[[nn.Parameter], bool], fetch: Fetch, fill: Fill, read: Callable[[], None]
) -> None:
    """Let the first process change whole parameters, and give each process its part of them; collective.

    Args:
        model: the bare model.
        shared, fetch: as of ``whole_parameters``.
        fill: spreads one.
        read: what the first process does.
    """
    with _in_place(_places(model, shared), fetch) as gathered:
        on_main(read)
    for parameter, whole in gathered:
        fill(parameter, whole)


def _places(model: nn.Module, shared: Callable[[nn.Parameter], bool]) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Where the shared parameters stand in the modules; a tied one in several."""
    own = [(m, name, p) for m in model.modules() for name, p in m._parameters.items() if p is not None]
    return [place for place in own if shared(place[2])]


@contextmanager
def _in_place(
    places: list[tuple[nn.Module, str, nn.Parameter]], fetch: Fetch
) -> Iterator[list[tuple[nn.Parameter, Tensor | None]]]:
    """A context in which whole parameters stand in their places; it gives each with its whole tensor."""
    gathered: dict[int, tuple[nn.Parameter, nn.Parameter | None]] = {}
    for _, _, parameter in places:
        if id(parameter) not in gathered:
            tensor = fetch(parameter)
            whole = None if tensor is None else nn.Parameter(tensor, requires_grad=parameter.requires_grad)
            gathered[id(parameter)] = parameter, whole
    replaced = places if is_main_process() else []
    hooks = {module: module._load_state_dict_post_hooks for module, _, _ in replaced}  # fully_shard's want its own back
    try:
        for module, name, parameter in replaced:
            module._parameters[name] = gathered[id(parameter)][1]
            module._load_state_dict_post_hooks = OrderedDict()
        yield list(gathered.values())
    finally:
        for module, name, parameter in replaced:
            module._parameters[name] = parameter
            module._load_state_dict_post_hooks = hooks[module]
