"""What the model answers while it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from torch import Tensor, nn

from mmgpt.engine.module import evaluating
from mmgpt.engine.state import untouched_rng
from mmgpt.models.media import Frames
from mmgpt.registry import HOOKS
from mmgpt.structures import IGNORE_INDEX, Batch


@HOOKS.register_module()
class SamplesHook(Hook):
    """Every ``interval`` iterations lets the model answer questions of the current batch, and logs the answers.

    They go to ``samples.jsonl`` beside the log, and to TensorBoard as text. Training is not touched by it: random
    number generators and the training mode are left as they were.

    Args:
        interval: iterations between two times.
        num: rows of the batch that are asked, one question each: the last one of the row's first sample.
        max_new_tokens: the longest answer.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 500, num: int = 2, max_new_tokens: int = 32):
        self.interval = interval
        self.num = num
        self.max_new_tokens = max_new_tokens

    def after_train_iter(self, runner, batch_idx: int, data_batch: Batch | None = None, outputs=None) -> None:
        """Ask and log where it is due."""
        due = self.every_n_train_iters(runner, self.interval) and runner.processor is not None
        together = runner.strategy.sharded  # a process has only a part of the model: all answer, the first one writes
        if not (due and (together or is_main_process())):
            return
        model, tokenizer = runner.bare_model, runner.processor.tokenizer
        rows = range(min(self.num, len(data_batch['input_ids'])))
        asked = [
            (data_batch['sample_ids'][row][0], *question(data_batch, row, model.config.media_token_id)) for row in rows
        ]
        if together:
            broadcast_object_list(asked := [asked])
            (asked,) = asked
        entries = []
        with untouched_rng(), evaluating(model), torch.no_grad(), runner.strategy.generating(runner.model):
            for sample_id, prompt, expected in asked:
                answer = self._answer(model, prompt, runner.trained_module.device)
                texts = {
                    'prompt': tokenizer.decode(prompt['input_ids'][0]),
                    'expected': tokenizer.decode(expected, skip_special_tokens=True),
                    'generated': tokenizer.decode(answer, skip_special_tokens=True),
                }
                entries.append({'step': runner.iter + 1, 'id': sample_id, **texts})
        if is_main_process():
            self._write(runner, entries)

    def _answer(self, model: nn.Module, prompt: dict[str, Tensor], device: torch.device) -> Tensor:
        inputs = {name: value.to(device) for name, value in prompt.items()}
        if 'vision_features' in inputs:
            places = inputs.pop('frame_places')
            inputs['media'] = model.encode_media(Frames(None, inputs.pop('vision_features'), places))
        output = model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        return output[0, prompt['input_ids'].shape[1] :].cpu()

    def _write(self, runner, entries: list[dict[str, Any]]) -> None:
        with (Path(runner.log_dir) / 'samples.jsonl').open('a', encoding='utf-8') as file:
            file.writelines(json.dumps(entry, ensure_ascii=False) + '\n' for entry in entries)
        for entry in entries:
            runner.logger.info(f'sample {entry["id"]}: expected {entry["expected"]!r}, got {entry["generated"]!r}')
        text = '\n\n'.join(f'{e["prompt"]}\n\nexpected: {e["expected"]}\n\ngot: {e["generated"]}' for e in entries)
        for backend in runner.visualizer._vis_backends.values():
            if hasattr(backend.experiment, 'add_text'):
                backend.experiment.add_text('samples', text, runner.iter + 1)


def question(batch: Batch, row: int, media_token_id: int) -> tuple[dict[str, Tensor], Tensor]:
    """The first sample of a row up to its last answer, as inputs of ``generate``; and that answer's ids.

    Of a batch with features instead of frames, ``vision_features`` and ``frame_places`` (1, M, F) stand for the media.

    Args:
        batch: with unshifted labels.
        row: which row.
        media_token_id: the mark that stands for a medium.
    """
    own = batch['segment_ids'][row] == 1
    ids, labels = batch['input_ids'][row][own], batch['labels'][row][own]
    trained = labels != IGNORE_INDEX
    begins = trained & ~trained.roll(1)
    begins[0] = trained[0]
    start = int(begins.nonzero()[-1]) if trained.any() else len(ids)
    prompt = {'input_ids': ids[None, :start], 'attention_mask': torch.ones(1, start, dtype=torch.long)}
    count = int((ids[:start] == media_token_id).sum())
    if count:
        places = batch['media_frames'][row, :count]
        if 'frames' in batch:
            prompt['pixel_values'] = batch['frames'][places.clamp(min=0)][None]
            prompt['frame_mask'] = (places >= 0)[None]
        else:
            prompt['vision_features'], prompt['frame_places'] = batch['vision_features'], places[None]
    return prompt, labels[start:][trained[start:]]
