"""MPT, which drops the keywords that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

from mmgpt.models.language_decoders.causal_lm import CausalLM
from mmgpt.registry import LANGUAGE_DECODERS
from mmgpt.structures import Media

_media: ContextVar[Media | None] = ContextVar('media of the running MPT call', default=None)


@LANGUAGE_DECODERS.register_module()
class MPT(CausalLM):
    """Runs ``MptForCausalLM``: media reach its layers through a context variable that is bound for one call.

    A context variable belongs to one thread and one task, so calls that run at the same time share nothing, and it is
    unbound when the call ends, also by an exception.
    """

    def text_inputs(self, text: Tensor, position_ids: Tensor | None, segment_ids: Tensor | None) -> dict[str, Tensor]:
        """See :meth:`CausalLM.text_inputs`.

        Raises:
            ValueError: the rows are longer than the biases of its attention.
        """
        limit = self.lm.config.max_seq_len
        if text.shape[1] > limit:
            raise ValueError(
                f"this MPT's attention is made for rows of {limit} tokens, and the batch has rows of {text.shape[1]}: "
                'lower row_length or max_seq_len of the data, or raise max_seq_len in the config of the language model'
            )
        return super().text_inputs(text, position_ids, segment_ids)

    def take_media(self, kwargs: dict[str, Any]) -> Media | None:
        """The media of the running call."""
        return _media.get()

    @contextmanager
    def carrying(self, media: Media | None) -> Iterator[dict[str, Any]]:
        """Binds ``media`` during one call; the language model gets no keyword."""
        token = _media.set(media)
        try:
            yield {}
        finally:
            _media.reset(token)
