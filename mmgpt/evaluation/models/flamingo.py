"""Our own models under evaluation: batches share what their prompts begin with, and every picture is encoded once."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from mmgpt.data.tokens import Tokens, encode
from mmgpt.evaluation.items import Generation, Prompt
from mmgpt.evaluation.models.base import EvaluatedModel
from mmgpt.evaluation.models.ranking import choice_scores, choice_tokens
from mmgpt.evaluation.prompts import PromptWriter, unmarked
from mmgpt.models.media import Frames
from mmgpt.models.media_cache import stays_valid
from mmgpt.structures import Media, Medium

LATENTS = 2**30  # bytes of encoded pictures that are kept
ROWS = 4096  # prompts that are kept as tokens
DIGESTED = 32  # numbers of each weight that are looked at, or some more
TOGETHER = {'cpu': 8, 'accelerator': 16}  # pictures that are encoded at a time, filled up where they are fewer


class _Prefix(NamedTuple):
    """What prompts begin with, computed."""

    ids: tuple[int, ...]
    media: tuple[Medium, ...]
    cache: DynamicCache  # of one row


class FlamingoModel(EvaluatedModel):
    """A ``Flamingo`` with its processor.

    Demonstrations that all prompts of a batch have, which are then of one length, are computed once, and the next batch
    goes on with them. Answers are those of plain ``generate``.

    Args:
        model: a ``Flamingo``.
        processor: its processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.prompter = processor.prompter
        self.name = str(getattr(model.config, '_name_or_path', '') or type(model).__name__)
        self.fingerprint = fingerprint(model, self.name)
        self.computed = 0  # tokens of prompts that went through the model
        self._prefix: _Prefix | None = None
        self._latents: OrderedDict[tuple, Tensor] = OrderedDict()
        self._kept = 0  # bytes of them
        self._rows: dict[int, tuple[Prompt, PromptWriter, Tokens]] = {}

    def lengths(self, prompts: Sequence[Prompt], writer: PromptWriter) -> list[int]:
        """Tokens of each prompt."""
        return [len(self._encode(prompt, writer).input_ids) for prompt in prompts]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt], writer: PromptWriter, settings: Generation) -> list[str]:
        """See :meth:`EvaluatedModel.generate`."""
        rows = [self._encode(prompt, writer) for prompt in prompts]
        device = self.model.device
        prefix = self._shared(rows, prompts, writer)
        begun, seen = (0, 0) if prefix is None else (len(prefix.ids), len(prefix.media))
        length = max(len(row.input_ids) for row in rows)
        pad = self.processor.pad_token_id
        ids = torch.full((len(rows), length), pad, device=device)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            start = length - len(row.input_ids)
            ids[number, start:], mask[number, start:] = row.input_ids.to(device), 1
        self.computed += int(mask[:, begun:].sum())
        inputs: dict[str, Any] = {'media': self._media(rows, seen, writer)}
        if prefix is not None:
            inputs['past_key_values'] = _repeated(prefix.cache, len(rows) * settings.num_beams)
        arguments = dict(
            max_new_tokens=settings.max_new_tokens,
            num_beams=settings.num_beams,
            do_sample=False,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            eos_token_id=self.processor.stop_token_ids,
            pad_token_id=pad,
        )
        if settings.num_beams > 1:
            arguments['length_penalty'] = settings.length_penalty
        out = self.model.generate(ids, attention_mask=mask, **inputs, **arguments)
        texts = self.processor.tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)
        return [before(text, settings.stop) for text in texts]

    @torch.inference_mode()
    def rank(
        self, prompts: Sequence[Prompt], choices: Sequence[Sequence[str]], writer: PromptWriter, normalisation: str
    ) -> list[list[float]]:
        """See :meth:`EvaluatedModel.rank`. The prompts are of one length."""
        rows = [self._encode(prompt, writer) for prompt in prompts]
        if len({len(row.input_ids) for row in rows}) > 1:
            raise ValueError(f'prompts of one length are ranked together, got {[len(row.input_ids) for row in rows]}')
        prefix = self._shared(rows, prompts, writer)
        begun, seen = (0, 0) if prefix is None else (len(prefix.ids), len(prefix.media))
        ids = torch.stack([row.input_ids[begun:] for row in rows]).to(self.model.device)
        self.computed += ids.numel()
        cache = DynamicCache(config=self.model.config.text_config)
        if prefix is not None:
            cache = _repeated(prefix.cache, len(rows))
        media = self._media(rows, seen, writer)
        out = self.model(input_ids=ids, media=media, past_key_values=cache, use_cache=True, logits_to_keep=1)
        last = out.logits[:, -1].float().log_softmax(-1)  # (B, V)
        ends = [self._text(prompt, writer) for prompt in prompts]
        template = self.prompter.template
        texts = [[unmarked(choice, template) for choice in few] for few in choices]
        tokens = [choice_tokens(self.processor.tokenizer, end, few) for end, few in zip(ends, texts, strict=True)]
        return choice_scores(self.model, out.past_key_values, last, tokens, normalisation, _repeated)

    # ---- prompts

    def _encode(self, prompt: Prompt, writer: PromptWriter) -> Tokens:
        """The prompt as tokens; what was made to plan the batches is kept for them."""
        known = self._rows.get(id(prompt))
        if known is not None and known[0] is prompt and known[1] is writer:
            return known[2]
        template = self.prompter.template
        row = encode(writer.render(prompt, template), self.prompter.tokenizer, template.media_token)
        self._rows[id(prompt)] = (prompt, writer, row)
        if len(self._rows) > ROWS:
            del self._rows[next(iter(self._rows))]
        return row

    def _text(self, prompt: Prompt, writer: PromptWriter) -> str:
        return writer.render(prompt, self.prompter.template).pieces[-1].text

    # ---- what prompts share

    def _shared(self, rows: Sequence[Tokens], prompts: Sequence[Prompt], writer: PromptWriter) -> _Prefix | None:
        """The demonstrations of all rows, computed; None where they have not the same ones, or these may not be shared.

        What is shared depends on the prompts alone, never on what was asked before: answers that depend on it by a
        rounding would not be the same after an interruption. Rows of different lengths share nothing, as their pads
        would come to stand behind it, which ALiBi would see.
        """
        query = len(prompts[0].query.media)
        if not prompts[0].demonstrations or not query or len({len(row.input_ids) for row in rows}) > 1:
            return None
        mark = self.model.config.media_token_id
        marks = (rows[0].input_ids == mark).nonzero().flatten().tolist()
        begun, seen = marks[-query], len(marks) - query
        ids, media = rows[0].input_ids[:begun], rows[0].media[:seen]
        for row in rows:
            same = torch.equal(row.input_ids[:begun], ids) and row.media[:seen] == media
            if not same or not self._may_share(seen, int((row.input_ids == mark).sum())):
                return None
        known = self._prefix
        if known is None or (known.ids, known.media) != (tuple(ids.tolist()), media):
            cache = DynamicCache(config=self.model.config.text_config)
            latents = self._media([Tokens(ids, ids, media, 0)], 0, writer)
            shown = ids[None].to(self.model.device)
            out = self.model(input_ids=shown, media=latents, past_key_values=cache, use_cache=True, logits_to_keep=1)
            self.computed += begun
            self._prefix = _Prefix(tuple(ids.tolist()), media, out.past_key_values)
        return self._prefix

    def _may_share(self, seen: int, marks: int) -> bool:
        return stays_valid(self.model.config, seen, seen, marks)

    # ---- media

    def _media(self, rows: Sequence[Tokens], seen: int, writer: PromptWriter) -> Tensor | None:
        """Latents (B, M, L, D) of the media of rows behind the first ``seen`` ones."""
        media = [row.media[seen:] for row in rows]
        if not any(media):
            return None
        index_matters = getattr(self.model.resampler, 'media_time_embs', self) is not None  # not known: it does
        keys = [[(medium, seen + place if index_matters else 0) for place, medium in enumerate(row)] for row in media]
        wanted = list(dict.fromkeys(key for row in keys for key in row))
        found = {key: self._latents[key] for key in wanted if key in self._latents}
        missing = [key for key in wanted if key not in found]
        if missing:
            found |= self._encoded(missing, writer)
        for key in wanted:
            self._keep(key, found[key])
        example = found[wanted[0]]
        made = example.new_zeros(len(rows), max(map(len, keys)), *example.shape)
        for number, row in enumerate(keys):
            for place, key in enumerate(row):
                made[number, place] = found[key]
        return made

    def _encoded(self, keys: Sequence[tuple[Medium, int]], writer: PromptWriter) -> dict[tuple, Tensor]:
        """The latents (L, D) of media at their places, which are not known yet.

        Always as many are encoded together, whatever else is known, so that they are the same to the last bit.
        """
        device = self.model.device
        size = TOGETHER['cpu' if device.type == 'cpu' else 'accelerator']
        found = {}
        for start in range(0, len(keys), size):
            few = list(keys[start : start + size])
            filled = few + few[:1] * (size - len(few))
            frames = [[self.prompter.frame(writer.task.open(f)) for f in medium.frames] for medium, _ in few]
            frames += frames[:1] * (size - len(few))
            places = torch.full((1, size, max(map(len, frames))), -1)
            count = 0
            for number, pixels in enumerate(frames):
                places[0, number, : len(pixels)] = torch.arange(count, count + len(pixels))
                count += len(pixels)
            pixels = torch.stack([frame for pixels in frames for frame in pixels]).to(device)
            index = torch.tensor([place for _, place in filled], device=device)
            latents = self.model.encode_media(Frames(pixels, None, places.to(device)), index)[0]
            found |= dict(zip(few, latents, strict=False))
        return found

    def _keep(self, key: tuple, latents: Tensor) -> None:
        """Keeps latents, those that were not used for the longest time leave."""
        if key in self._latents:
            self._latents.move_to_end(key)
            return
        latents = latents.clone()
        self._latents[key] = latents
        self._kept += latents.nbytes
        while self._kept > LATENTS and len(self._latents) > 1:
            self._kept -= self._latents.popitem(last=False)[1].nbytes


def _repeated(cache: DynamicCache, times: int) -> DynamicCache:
    """A copy of a cache with every row ``times`` times, its media included."""
    media, cache.media = cache.media, None
    try:
        made = copy.deepcopy(cache)
    finally:
        cache.media = media
    made.batch_repeat_interleave(times)
    made.media = None if media is None else _repeated_media(media, times)
    return made


def _repeated_media(media: Media, times: int) -> Media:
    def repeat(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.repeat_interleave(times, 0)

    pairs = media.keys_values
    return media._replace(
        latents=repeat(media.latents),
        span=repeat(media.span),
        gated=repeat(media.gated),
        keys_values=None if pairs is None else {layer: tuple(map(repeat, pair)) for layer, pair in pairs.items()},
        mask=repeat(media.mask),
        marks=repeat(media.marks),
    )


def before(text: str, stops: Sequence[str]) -> str:
    """What of a text stands before the first of all stops in it."""
    for stop in stops:
        text = text.split(stop)[0]
    return text


def fingerprint(model: torch.nn.Module, folder: str) -> list:
    """Names, sizes and times of a folder's files of weights, and a digest of numbers from all over the weights.

    These tell dtypes apart, and a model in memory from what it was before a training.
    """
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if not weight.is_meta:
            flat = weight.data.flatten()
            few = flat[:: max(1, flat.numel() // DIGESTED)].double().tolist()
            digest.update(json.dumps([name, str(weight.dtype), list(weight.shape), few]).encode())
    if not Path(folder).is_dir():
        return [folder, digest.hexdigest()]
    files = sorted(path for kind in ('*.safetensors', 'config.json') for path in Path(folder).glob(kind))
    return [*([path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files), digest.hexdigest()]
