"""Frozen language models in 8 or 4 bits; what is trained stays as it is."""

from __future__ import annotations

import importlib.util

import torch
from transformers import BitsAndBytesConfig

KEPT = ['vision_encoder', 'resampler', 'gated_blocks', 'lm_head', 'embed_out']  # in full precision


def quantization_config(bits: int, dtype: torch.dtype = torch.bfloat16) -> BitsAndBytesConfig:
    """For ``from_pretrained(…, quantization_config=…)``: the linear layers of the language model's own layers in fewer
    bits through bitsandbytes (8 bits: LLM.int8, arXiv 2208.07339; 4 bits: NF4, arXiv 2305.14314).

    Vision encoder, resampler, gated blocks, embedding and output head keep their precision. Adapters go on top as on
    any model: ``LoRA(…).inject(model)``.

    Args:
        bits: 8 or 4.
        dtype: that the 4-bit layers compute in. Default: bfloat16.

    Raises:
        ImportError: bitsandbytes is not installed.
        ValueError: another number of bits.

    Example::

        model = AutoModelForImageTextToText.from_pretrained(folder, quantization_config=quantization_config(4))
    """
    if bits not in (4, 8):
        raise ValueError(f'a language model is quantised to 8 or 4 bits, got {bits}')
    if importlib.util.find_spec('bitsandbytes') is None:
        raise ImportError(f'loading in {bits} bits needs bitsandbytes: pip install "mmgpt[quantization]"')
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=KEPT)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=KEPT
    )
