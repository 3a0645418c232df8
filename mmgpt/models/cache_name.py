"""What transformers calls the cache of a call: ``cache`` from 5.24 on, ``past_key_values`` before."""

from __future__ import annotations

from typing import Any

from transformers.modeling_outputs import CausalLMOutputWithPast

CACHE = 'cache' if 'cache' in CausalLMOutputWithPast.__dataclass_fields__ else 'past_key_values'


def one_cache(cache: Any, past_key_values: Any) -> Any:
    """The cache of a call that takes it by both names.

    Raises:
        ValueError: two different caches were given.
    """
    if cache is not None and past_key_values is not None and cache is not past_key_values:
        raise ValueError('got one cache as `cache` and another as `past_key_values`, its older name: pass one of them')
    return past_key_values if cache is None else cache
