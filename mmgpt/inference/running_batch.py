"""The rows that are decoded together: how they begin, join, take a step and leave."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mmgpt.inference.answer_text import AnswerText
from mmgpt.inference.prefixes import EncodedMedia, Prefix, Prefixes, Prompt, begun_cache, unseen
from mmgpt.inference.requests import Job, Progress
from mmgpt.inference.sampling import Sampler, Token
from mmgpt.models.cache_name import CACHE
from mmgpt.models.cache_rows import join_rows, take_rows

logger = logging.getLogger(__name__)

PADS = 0.5  # the share of a batch of prompts that may be pads


@dataclass(eq=False)
class Row:
    """One answer while it grows."""

    job: Job
    index: int
    sampler: Sampler
    text: AnswerText
    ids: list[int] = field(default_factory=list)  # of the answer
    failed: bool = False

    @property
    def length(self) -> int:
        """Tokens that were run through the model: all but the last one."""
        return len(self.job.request.prompt.ids) + max(0, len(self.ids) - 1)

    def whole(self) -> Tensor:
        """The ids of prompt and answer."""
        prompt = self.job.request.prompt.ids
        return torch.cat((prompt, torch.tensor(self.ids, dtype=prompt.dtype)))


class RunningBatch:
    """Rows that are decoded together, one token of each at a step. All compute with the same adapters.

    Args:
        model: a ``Flamingo`` that computes with them.
        processor: its processor.
        encoded: what its vision encoder made.
        prefixes: where the texts of finished rows are kept.
        adapters: their names.
    """

    def __init__(
        self, model: Any, processor: Any, encoded: EncodedMedia, prefixes: Prefixes, adapters: Sequence[str]
    ) -> None:
        self.model = model
        self.tokenizer = processor.tokenizer
        self.stop_strings = processor.prompter.template.stop_strings
        self.stops = frozenset(processor.stop_token_ids)
        self.pad = processor.pad_token_id
        self.encoded = encoded
        self.prefixes = prefixes
        self.adapters = tuple(adapters)
        self.rows: list[Row] = []
        self.cache: DynamicCache | None = None
        self.mask: Tensor | None = None  # (R, S), 0 = pad

    def take_in(self, jobs: Sequence[Job]) -> None:
        """Runs the prompts of new requests, tells their first tokens, and joins them with the running rows."""
        try:
            computed = list(self._computed(jobs))
        except Exception as error:
            if len(jobs) > 1:  # one by one, so that none suffers from another
                for job in jobs:
                    self.take_in([job])
                return
            logger.exception('a prompt could not be computed')
            jobs[0].tell(Progress(0, error=error))
            return
        for group, cache, mask, logits in computed:
            self._join(group, cache, mask, logits)

    def step(self) -> None:
        """Decodes one token of every row; there is at least one."""
        last = torch.tensor([row.ids[-1:] for row in self.rows], device=self.model.device)
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        logits = self._forward(last, self.mask, self.mask.sum(1, keepdim=True) - 1, self.cache, None)
        self._leave(self._advance(self.rows, logits))

    def drop_cancelled(self) -> None:
        """Lets go of the rows whose requests were cancelled."""
        goes_on = [not row.job.cancelled for row in self.rows]
        if not all(goes_on):
            self._leave(goes_on)

    def fail(self, error: BaseException) -> None:
        """Ends all rows with an error."""
        for job in {id(row.job): row.job for row in self.rows}.values():
            job.tell(Progress(0, error=error))
        self.rows = []

    # ---- prompts

    def _computed(self, jobs: Sequence[Job]) -> Iterator[tuple[list[Job], DynamicCache, Tensor, Tensor]]:
        """Groups of the jobs, each with cache, mask and logits of its prompts."""
        latents = self.encoded.encode([job.request.prompt for job in jobs], self.adapters)
        together = []
        for job, made in zip(jobs, latents, strict=True):
            prefix, job.reused = self.prefixes.find(job.request.prompt, self.adapters)
            if prefix is None:
                together.append((job, made))
            else:
                yield [job], *self._go_on(prefix, job.reused, job.request.prompt, made)
        for group in _alike(together):
            yield [job for job, _ in group], *self._begin(group)

    def _begin(self, group: Sequence[tuple[Job, Tensor | None]]) -> tuple[DynamicCache, Tensor, Tensor]:
        """Cache, mask and logits of prompts that are computed from their beginning, padded on the left."""
        prompts = [job.request.prompt for job, _ in group]
        length = max(len(prompt.ids) for prompt in prompts)
        ids = torch.full((len(prompts), length), self.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt.ids) :] = prompt.ids
            mask[row, length - len(prompt.ids) :] = 1
        media = _stacked([latents for _, latents in group])
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        cache = DynamicCache(config=self.model.config.text_config)
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache, media)
        return cache, mask, logits

    def _go_on(
        self, prefix: Prefix, length: int, prompt: Prompt, latents: Tensor | None
    ) -> tuple[DynamicCache, Tensor, Tensor]:
        """The same of one prompt whose first ``length`` tokens were computed."""
        cache = begun_cache(self.model, prefix, prompt, length, latents)
        device = self.model.device
        new = unseen(self.model, prompt, length, latents)
        mask = torch.ones(1, len(prompt.ids), dtype=torch.long, device=device)
        positions = torch.arange(length, len(prompt.ids), device=device)[None]
        logits = self._forward(prompt.ids[None, length:].to(device), mask, positions, cache, new)
        return cache, mask, logits

    def _forward(
        self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache, media: Tensor | None
    ) -> Tensor:
        """The logits (R, V) of the next tokens, float32; ``cache`` grows."""
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            media=media,
            use_cache=True,
            logits_to_keep=1,
            **{CACHE: cache},
        )
        logits = out.logits[:, -1].float()
        logits[:, self.model.config.media_token_id] = -torch.inf
        return logits

    def _join(self, jobs: Sequence[Job], cache: DynamicCache, mask: Tensor, logits: Tensor) -> None:
        rows, places = [], []
        for place, job in enumerate(jobs):
            request = job.request
            for index in range(request.n):
                seed = None if request.settings.seed is None else request.settings.seed + index
                sampler = Sampler(request.settings, seed, request.logprobs, logits.device)
                text = AnswerText(self.tokenizer, (*self.stop_strings, *request.settings.stop))
                rows.append(Row(job, index, sampler, text))
                places.append(place)
        goes_on = self._advance(rows, logits[places] if len(rows) > len(jobs) else logits)
        for row, place, alive in zip(rows, places, goes_on, strict=True):
            if not alive:
                self._keep(row, cache, place, mask)
        index = torch.tensor([place for place, alive in zip(places, goes_on, strict=True) if alive], dtype=torch.long)
        if not len(index):
            return
        index = index.to(mask.device)
        if len(index) != len(jobs) or len(rows) > len(jobs):
            cache, mask = take_rows(cache, index), mask[index]
        if self.rows:
            length = max(mask.shape[1], self.mask.shape[1])
            cache = join_rows([self.cache, cache])
            mask = torch.cat([torch.nn.functional.pad(one, (length - one.shape[1], 0)) for one in (self.mask, mask)])
        self.cache, self.mask = cache, mask
        self.rows = [*self.rows, *(row for row, alive in zip(rows, goes_on, strict=True) if alive)]

    # ---- tokens

    def _advance(self, rows: Sequence[Row], logits: Tensor) -> list[bool]:
        """Chooses and tells the next token of each row; False where it ends."""
        likeliest = logits.argmax(-1).tolist()
        goes_on = []
        for row, token, scores in zip(rows, likeliest, logits, strict=True):
            chosen = Token(token)
            if not row.sampler.is_plain:
                try:
                    chosen = row.sampler.choose(row.whole().to(logits.device), scores)
                except Exception as error:  # the others go on
                    logger.exception('a token could not be chosen')
                    row.job.tell(Progress(row.index, error=error))
                    row.failed = True
                    goes_on.append(False)
                    continue
            goes_on.append(self._tell(row, chosen))
        return goes_on

    def _tell(self, row: Row, token: Token) -> bool:
        row.ids.append(token.id)
        finish = None
        if token.id in self.stops:
            text, finish = row.text.end(), 'stop'
        else:
            text = row.text.add(token.id)
            if not row.text.stopped and len(row.ids) >= row.job.request.settings.max_new_tokens:
                text, finish = text + row.text.end(), 'length'
            if row.text.stopped:
                finish = 'stop'
        row.job.tell(Progress(row.index, text, token, finish))
        return finish is None

    def _leave(self, goes_on: Sequence[bool]) -> None:
        """Lets go of rows; what was computed of them is kept for texts that go on from them."""
        for place, (row, alive) in enumerate(zip(self.rows, goes_on, strict=True)):
            if not alive:
                self._keep(row, self.cache, place, self.mask)
        if all(goes_on):
            return
        self.rows = [row for row, alive in zip(self.rows, goes_on, strict=True) if alive]
        if not self.rows:
            self.cache = self.mask = None
            return
        index = torch.tensor([i for i, alive in enumerate(goes_on) if alive], device=self.mask.device)
        pads = self.mask.shape[1] - max(row.length for row in self.rows)
        self.cache, self.mask = take_rows(self.cache, index, pads), self.mask[index, pads:]

    def _keep(self, row: Row, cache: DynamicCache, place: int, mask: Tensor) -> None:
        if row.index or row.failed or self.prefixes.max_bytes == 0:
            return
        pads = mask.shape[1] - row.length
        alone = take_rows(cache, torch.tensor([place], device=mask.device), pads)
        self.prefixes.keep(Prefix(alone, row.whole()[: row.length], row.job.request.prompt.digests, self.adapters))


def _stacked(made: Sequence[Tensor | None]) -> Tensor | None:
    """Latents (1, M, L, D) of prompts as (R, M, L, D), padded on the right; None where no prompt has any."""
    there = [latents for latents in made if latents is not None]
    if not there:
        return None
    media = there[0].new_zeros(len(made), max(latents.shape[1] for latents in there), *there[0].shape[2:])
    for row, latents in enumerate(made):
        if latents is not None:
            media[row, : latents.shape[1]] = latents[0]
    return media


def _alike(jobs: Sequence[tuple[Job, Tensor | None]]) -> Iterator[list[tuple[Job, Tensor | None]]]:
    """Groups of prompts whose lengths differ little, so that few pads are computed."""
    group: list[tuple[Job, Tensor | None]] = []
    total = 0
    for job, latents in sorted(jobs, key=lambda pair: len(pair[0].request.prompt.ids)):
        length = len(job.request.prompt.ids)
        if group and total + length < (1 - PADS) * length * (len(group) + 1):
            yield group
            group, total = [], 0
        group.append((job, latents))
        total += length
    if group:
        yield group
