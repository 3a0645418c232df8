"""Any image-text model of Hugging Face's under evaluation, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmgpt.evaluation.items import Generation, Prompt
from mmgpt.evaluation.models.base import EvaluatedModel
from mmgpt.evaluation.models.flamingo import before, fingerprint
from mmgpt.evaluation.prompts import PromptWriter


class HuggingFaceModel(EvaluatedModel):
    """A model with its processor, spoken to by the processor's chat template, one prompt at a time.

    Demonstrations are earlier rounds of the conversation. Likelihoods are of whole texts: prompt and choice.

    Args:
        model: has ``generate`` and gives logits.
        processor: with a chat template.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.name = str(model.config._name_or_path or type(model).__name__)
        self.fingerprint = fingerprint(model, self.name)

    @classmethod
    def load(cls, name: str, device: str | None = None, dtype: str = 'auto') -> HuggingFaceModel:
        """The model of a folder or hub id.

        Raises:
            OSError: there is none, or its processor has no chat template.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from mmgpt.hub.io import default_device

        processor = AutoProcessor.from_pretrained(name)
        if not getattr(processor, 'chat_template', None):
            raise OSError(f"{name} has no chat template, by which other people's models are asked")
        model = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype)
        return cls(model.to(device or default_device()).eval(), processor)

    def _inputs(self, prompt: Prompt, writer: PromptWriter) -> Any:
        return self.processor.apply_chat_template(
            writer.messages(prompt), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt'
        ).to(self.model.device)

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt], writer: PromptWriter, settings: Generation) -> list[str]:
        """See :meth:`EvaluatedModel.generate`."""
        texts = []
        for prompt in prompts:
            inputs = self._inputs(prompt, writer)
            beams = {'length_penalty': settings.length_penalty} if settings.num_beams > 1 else {}
            out = self.model.generate(
                **inputs,
                max_new_tokens=settings.max_new_tokens,
                num_beams=settings.num_beams,
                do_sample=False,
                no_repeat_ngram_size=settings.no_repeat_ngram_size,
                **beams,
            )
            written = out[0, inputs['input_ids'].shape[1] :]
            texts.append(before(self.processor.decode(written, skip_special_tokens=True), settings.stop))
        return texts

    @torch.inference_mode()
    def rank(
        self, prompts: Sequence[Prompt], choices: Sequence[Sequence[str]], writer: PromptWriter, normalisation: str
    ) -> list[list[float]]:
        """See :meth:`EvaluatedModel.rank`."""
        scores = []
        for prompt, few in zip(prompts, choices, strict=True):
            inputs = dict(self._inputs(prompt, writer))
            ids = inputs.pop('input_ids')
            start, row = ids.shape[1], []
            # masks and kinds of tokens, which go on behind the prompt as for its last token, text like a choice
            by_token = {name: inputs.pop(name) for name in [*inputs] if inputs[name].shape[:2] == ids.shape}
            for choice in few:
                behind = self.processor.tokenizer(choice, add_special_tokens=False, return_tensors='pt')['input_ids']
                behind = behind.to(ids.device)
                whole, count = torch.cat((ids, behind), 1), behind.shape[1]
                longer = {n: torch.cat((v, v[:, -1:].repeat_interleave(count, 1)), 1) for n, v in by_token.items()}
                logits = self.model(input_ids=whole, **longer, **inputs).logits[0, start - 1 : -1]
                each = logits.float().log_softmax(-1).gather(-1, behind[0, :, None])
                row.append(float(each.mean() if normalisation == 'mean' else each.sum()))
            scores.append(row)
        return scores
