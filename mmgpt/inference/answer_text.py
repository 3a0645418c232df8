"""The text of an answer while its tokens come: what can no longer change, and where a stop string ends it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

BYTE = re.compile('<0x([0-9A-F]{2})>')  # how vocabularies with byte fallback name a token that is one byte


class AnswerText:
    """Text out of tokens, piece by piece; the pieces are the whole answer without blanks at its ends.

    A piece is held back while it could still become part of a character, of a stop string, or of the blanks at the end.

    Args:
        tokenizer: of the model.
        stop: strings at which the answer ends; they are no part of it.

    Example::

        answer = AnswerText(tokenizer, stop=['###'])
        for token in tokens:
            print(answer.add(token), end='')
            if answer.stopped:
                break
        print(answer.end())
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._ids: list[int] = []
        self._begin = 0  # the ids from here on are decoded again: the text of a token may depend on those before it
        self._read = 0  # the ids up to here are in the text
        self._held = ''
        self.text = ''  # what was given out
        self.stopped = False

    def add(self, token: int) -> str:
        """The piece that this token makes certain; '' where there is none."""
        if self.stopped:
            return ''
        self._ids.append(token)
        before = self._decode(self._begin, self._read)
        after = self._decode(self._begin, len(self._ids))
        if after.endswith('\N{REPLACEMENT CHARACTER}') or len(after) <= len(before):
            return ''
        # both are borders of characters: bytes decoded from within one would spoil all bytes that follow
        self._begin, self._read = self._read, len(self._ids)
        return self._give(after[len(before) :])

    def end(self) -> str:
        """The last piece: there are no more tokens."""
        if self.stopped:
            return ''
        before = self._decode(self._begin, self._read)
        piece = self._give(self._decode(self._begin, len(self._ids))[len(before) :])
        if self.stopped:
            return piece
        rest = self._held.rstrip() if self.text else self._held.strip()
        self._held = ''
        self.text += rest
        return piece + rest

    def _give(self, new: str) -> str:
        text = self._held + new
        places = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if places:
            self.stopped = True
            text = text[: min(places)]
            size = len(text.rstrip())
        else:
            begun = [n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])]
            size = len(text[: len(text) - max(begun, default=0)].rstrip())
        piece, self._held = text[:size], text[size:]
        if not self.text:
            piece = piece.lstrip()
        self.text += piece
        return piece

    def _decode(self, start: int, end: int) -> str:
        return self._tokenizer.decode(self._ids[start:end], skip_special_tokens=True) if end > start else ''


def spelt(tokenizer: PreTrainedTokenizerBase, token: int) -> tuple[str, bytes]:
    """The text of one token within an answer, and its bytes; where they are part of a character, the text is U+FFFD."""
    alone = tokenizer.decode([token])
    text = tokenizer.decode([token, token])[len(alone) :]  # some decoders drop the blank before the first token
    if '\N{REPLACEMENT CHARACTER}' not in alone:
        return text, text.encode()
    piece = tokenizer.convert_ids_to_tokens(token)
    if found := BYTE.fullmatch(piece):
        return alone, bytes.fromhex(found[1])
    known = _byte_level()
    return alone, bytes(known[c] for c in piece) if known.keys() >= set(piece) else alone.encode()


@functools.cache
def _byte_level() -> dict[str, int]:
    """The byte that each character stands for in vocabularies of bytes, as GPT-2's."""
    return {character: byte for byte, character in bytes_to_unicode().items()}
