"""A tiny random model with its processor, and the messages that the tests ask it."""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Otter
from mmgpt.data.tokens import add_special_tokens
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.models.builder import build_model
from mmgpt.models.flamingo import Flamingo

TEXT = ['User: What digit is this? GPT: It is a seven.', 'User: What is it called? GPT: A dog lies on two shoes.']


def tokenizer(template=None) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens with the template's special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=['<s>', '</s>'], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token='<s>', eos_token='</s>')
    add_special_tokens(fast, template or Otter())
    return fast


def prompter(template=None, size: int = 16) -> Prompter:
    template = template or Otter(spacing='spaced')
    return Prompter(template, tokenizer(template), ImageTransform(size))


def config(**changes) -> dict:
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    text = dict(model_type='llama', hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    return {
        'type': 'Flamingo',
        'vision_encoder': dict(type='ClipVision', config=dict(**vision, image_size=16, patch_size=8)),
        'resampler': dict(
            type='PerceiverResampler', depth=1, num_latents=3, heads=2, head_width=8, feedforward_ratio=1, max_frames=4
        ),
        'language_decoder': dict(type='CausalLM', config=text),
        'cross_attention': dict(type='GatedCrossAttention', heads=2, head_width=8, feedforward_ratio=1),
        **changes,
    }


def build(prompts: Prompter, seed: int = 0, **changes) -> Flamingo:
    """A random model whose gates are open and whose logits are far enough apart for greedy ids to be meaningful."""
    torch.manual_seed(seed)
    template = prompts.template
    model = build_model(
        config(**changes), prompts.tokenizer, template.media_token, template.stop_token, template.special_tokens
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith('_gate'):
                parameter.fill_(1.0)
        model.get_output_embeddings().weight.normal_(std=1.0)
        model.get_input_embeddings().weight.normal_(std=1.0)
    return model.eval()


@functools.cache
def model_and_processor() -> tuple[Flamingo, FlamingoProcessor]:
    """Shared by the tests of a process: none may change it."""
    prompts = prompter()
    model = build(prompts)
    return model, FlamingoProcessor.for_model(prompts, model)


def picture(value: int = 0, size: tuple[int, int] = (20, 16)) -> Image.Image:
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def user(text: str, *media: dict) -> dict:
    return {'role': 'user', 'content': [*media, {'type': 'text', 'text': text}]}


def assistant(text: str) -> dict:
    return {'role': 'assistant', 'content': text}


def image(value: int) -> dict:
    return {'type': 'image', 'image': picture(value)}


def conversations() -> dict[str, list[dict]]:
    """One conversation of each kind; each ends with a question."""
    return {
        'text': [user('What is it called?')],
        'image': [user('What digit is this?', image(0))],
        'two images': [user('What is it?', image(1), image(2))],
        'context': [user('What is this?', image(3)), assistant('A dog.'), user('What is it called?', image(4))],
        'video': [user('What is it?', {'type': 'video', 'video': [picture(i) for i in (5, 6, 7)]})],
        'set': [user('What is it?', {'type': 'image_set', 'images': [picture(8), picture(9)]}, image(1))],
        'system': [{'role': 'system', 'content': 'Look.'}, user('What is it?', image(2))],
    }
