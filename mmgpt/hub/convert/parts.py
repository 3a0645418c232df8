"""The parts that a published checkpoint is put together with: language model, tokenizer, vision tower."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging

from mmgpt.data.builder import read_tokenizer
from mmgpt.data.templates import Template
from mmgpt.data.tokens import add_special_tokens
from mmgpt.hub.convert.files import read_json, refusal
from mmgpt.hub.convert.report import ConversionError
from mmgpt.models.language_decoders import CausalLM
from mmgpt.models.misfits import shown
from mmgpt.registry import VISION_ENCODERS

TOWERS = {  # model_type of a Hugging Face folder -> the vision encoder that holds its tower
    'clip': 'ClipVision',
    'clip_vision_model': 'ClipVision',
    'siglip': 'SiglipVision',
    'siglip_vision_model': 'SiglipVision',
    'dinov2': 'Dinov2Vision',
}
CLIP_ARGUMENTS = (
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_channels',
    'image_size',
    'patch_size',
    'hidden_act',
    'layer_norm_eps',
)
DINO_ARGUMENTS = ('mlp_ratio', 'use_swiglu_ffn', 'qkv_bias')
OPEN_CLIP_CONFIG = 'open_clip_config.json'
OPEN_CLIP_WEIGHTS = ('open_clip_model.safetensors', '*.safetensors', 'open_clip_pytorch_model.bin', '*.bin', '*.pt')


class LanguageModel(NamedTuple):
    """A language model: its configuration, its tensors by its own names, and where it keeps what."""

    config: PretrainedConfig
    tensors: dict[str, Tensor]
    layers: str  # the path of the list of layers
    embedding: str  # the name of the input embedding's weight
    rows: tuple[str, ...]  # the names of what has a row for each token: embedding, head, its bias

    @classmethod
    def of(cls, lm: PreTrainedModel, with_tensors: bool = True) -> LanguageModel:
        """Describes a loaded language model, or with ``with_tensors=False`` one on the meta device."""
        embedding, head = (_name_of(module, lm) for module in (lm.get_input_embeddings(), lm.get_output_embeddings()))
        names = (f'{embedding}.weight', f'{head}.weight', f'{head}.bias')
        state = lm.state_dict()
        rows = tuple(name for name in names if name in state)
        return cls(lm.config, dict(state) if with_tensors else {}, CausalLM(lm).layers_name, names[0], rows)


def load_language_model(name: str) -> LanguageModel:
    """A language model of a Hugging Face folder or hub id, in the data type it was saved in.

    Raises:
        OSError: there is none, or it has to be downloaded and cannot be.
        ConversionError: it is damaged, or its weights are not whole.
    """

    def load() -> tuple[PreTrainedModel, dict[str, Any]]:
        return AutoModelForCausalLM.from_pretrained(
            name, dtype='auto', trust_remote_code=False, output_loading_info=True
        )

    lm, info = _loaded('the language model', name, load)
    tied = {key for key in info['missing_keys'] if key in (getattr(lm, 'all_tied_weights_keys', None) or {})}
    faults = sorted(set(info['missing_keys']) - tied) + sorted(map(str, info['mismatched_keys']))
    if faults:
        raise ConversionError(f'the weights of the language model {name} are not whole; missing:{shown(faults)}')
    return LanguageModel.of(lm)


def language_model_of_config(arguments: dict[str, Any]) -> LanguageModel:
    """A language model without tensors, of the ``text_config`` of a checkpoint that holds them itself."""
    arguments = dict(arguments)
    config = AutoConfig.for_model(arguments.pop('model_type'), **arguments)
    with torch.device('meta'):
        return LanguageModel.of(AutoModelForCausalLM.from_config(config), with_tensors=False)


def load_tokenizer(name: str, template: Template) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id, with the template's tokens added in the published order, then ``<PAD>``.

    LLaMA's of a folder that does not say ``legacy`` begins text after a mark with a word's beginning (``▁User``), as
    transformers did when the published models were trained; since its version 5 it does not.

    Raises:
        OSError: there is none.
    """
    with _errors_only():  # a published folder's model_type is unknown to the class that reads its tokenizer
        tokenizer = read_tokenizer(name)
        if hasattr(tokenizer, 'legacy') and get_tokenizer_config(name).get('legacy') is None:
            tokenizer = AutoTokenizer.from_pretrained(name, legacy=True)
    add_special_tokens(tokenizer, template)
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({'pad_token': '<PAD>'})  # else an end of text could not be told from padding
    return tokenizer


class VisionTower(NamedTuple):
    """A vision encoder with its weights, and the config that builds it again."""

    config: dict[str, Any]
    encoder: nn.Module

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By their names in the composed model."""
        return {f'vision_encoder.{name}': value for name, value in self.encoder.state_dict().items()}


def load_vision_tower(name: str, normalize_patches: bool | None = None) -> VisionTower:
    """A vision tower with its weights.

    Args:
        name: a folder in open_clip's form (a JSON file with ``vision_cfg``, and weights), a folder or hub id in Hugging
            Face's (CLIP, SigLIP, DINOv2), ``hf-hub:owner/name`` for open_clip's form on the hub, or a name that
            open_clip knows, with a tag of its weights where it is not ``openai``: ``ViT-L-14``,
            ``ViT-L-14:laion2b_s32b_b82k``.
        normalize_patches: whether the final LayerNorm is applied to the patches. Default: as the encoder does.

    Raises:
        OSError: there is none, or it has to be downloaded and cannot be.
        ConversionError: its weights are damaged or not those of its configuration.
    """
    import open_clip

    folder = Path(name).expanduser()
    if folder.is_dir():
        config, source = _read_folder(folder)
    elif name.startswith('hf-hub:'):
        config, source = _read_folder(_snapshot(name))
    elif name.partition(':')[0] in open_clip.list_models():
        config, source = _known_to_open_clip(*name.partition(':')[::2])
    else:
        config, source = _hugging_face(name), name
    if normalize_patches is not None:
        config['normalize_patches'] = normalize_patches
    encoder = VISION_ENCODERS.build(config)
    _loaded('the vision model', name, lambda: encoder.load_weights(str(source)))
    return VisionTower(config, encoder)


def _read_folder(folder: Path) -> tuple[dict[str, Any], Path]:
    """The config of a folder in either form, and where its weights are."""
    plain = folder / 'config.json'
    if plain.is_file() and read_json(plain).get('model_type') in TOWERS:
        return _hugging_face(str(folder)), folder
    files = [folder / OPEN_CLIP_CONFIG, *sorted(folder.glob('*.json'))]
    described = ((file, read_json(file)) for file in files if file.is_file())
    fields = next((f for _, f in described if 'vision_cfg' in f.get('model_cfg', f)), None)
    if fields is None:
        raise ConversionError(
            f'{folder} holds no vision model: expected a config.json of {", ".join(TOWERS)}, or a JSON file with '
            f'vision_cfg in the form of open_clip'
        )
    weights = next((file for pattern in OPEN_CLIP_WEIGHTS for file in sorted(folder.glob(pattern))), None)
    if weights is None:
        raise FileNotFoundError(f'{folder} holds no weights: expected one of {", ".join(OPEN_CLIP_WEIGHTS)}')
    model, pictures = fields.get('model_cfg', fields), fields.get('preprocess_cfg', {})
    return _open_clip(model, pictures), weights


def _open_clip(model: dict[str, Any], pictures: dict[str, Any], quick_gelu: bool | None = None) -> dict[str, Any]:
    """The config of an ``OpenClipVision``, architecture inline, so that it needs no table of names later."""
    vision = {**model['vision_cfg']}
    if 'timm_model_pretrained' in vision:
        vision['timm_model_pretrained'] = False
    quick = model.get('quick_gelu', False) if quick_gelu is None else quick_gelu
    architecture = {'embed_dim': model['embed_dim'], 'vision_cfg': vision, 'quick_gelu': quick}
    statistics = {key: tuple(pictures[key]) for key in ('mean', 'std') if pictures.get(key)}
    return {'type': 'OpenClipVision', 'architecture': architecture, **statistics}


def _known_to_open_clip(name: str, tag: str) -> tuple[dict[str, Any], str]:
    import open_clip
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    tag = tag or 'openai'
    settings = get_pretrained_cfg(name, tag)
    if not settings:
        known = ', '.join(list_pretrained_tags_by_model(name)) or 'none'
        raise ValueError(f'open_clip has no weights {tag!r} of {name}; write {name}:TAG with one of: {known}')
    file = _loaded('the vision model', name, lambda: download_pretrained(settings))
    quick = settings.get('quick_gelu') or None  # as open_clip does: the tag may switch it on
    return _open_clip(open_clip.get_model_config(name), settings, quick), file


def _hugging_face(name: str) -> dict[str, Any]:
    """The config of a tower in Hugging Face's form."""
    config = _loaded('the vision model', name, lambda: AutoConfig.from_pretrained(name, trust_remote_code=False))
    if config.model_type not in TOWERS:
        raise ConversionError(
            f'{name} is a {config.model_type} model, which is no known vision model: expected one of '
            f'{", ".join(TOWERS)}, or a name that open_clip knows, such as ViT-L-14'
        )
    vision = getattr(config, 'vision_config', config)
    arguments = {key: getattr(vision, key) for key in CLIP_ARGUMENTS + DINO_ARGUMENTS if hasattr(vision, key)}
    return {'type': TOWERS[config.model_type], 'config': arguments, **picture_statistics(Path(name))}


def picture_statistics(folder: Path) -> dict[str, tuple[float, ...]]:
    """``mean`` and ``std`` per channel of the pictures that a model was trained on, where its folder says them."""
    file = folder / 'preprocessor_config.json'
    fields = read_json(file) if file.is_file() else {}
    return {key: tuple(fields[f'image_{key}']) for key in ('mean', 'std') if fields.get(f'image_{key}')}


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download

    files = [OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS[0]]

    def fetch() -> str:
        return snapshot_download(name.removeprefix('hf-hub:'), allow_patterns=files)

    return Path(_loaded('the vision model', name, fetch))


def _loaded(part: str, name: str, load: Callable[[], Any]) -> Any:
    """Calls ``load``; whatever a library says, the message names the part, and damage is told from absence."""
    try:
        with _errors_only():  # what is missing is told below, and a tower leaves the other half of CLIP unused
            return load()
    except ConversionError:
        raise
    except OSError as error:
        raise OSError(
            f'{part} {name!r} cannot be loaded: {error}\n'
            'Give a folder on this machine, or a hub id while the hub can be reached.'
        ) from error
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f'the weights of {part} {name!r} were refused, and nothing in them was run: they hold more than tensors, '
            f'or are damaged ({refusal(error)})'
        ) from None
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise ConversionError(f'the weights of {part} {name!r} are damaged: {error!s:.300}') from error
    except (ValueError, KeyError) as error:
        raise ConversionError(f'{part} {name!r} cannot be used: {error!s:.1000}') from error


@contextmanager
def _errors_only() -> Iterator[None]:
    """Keeps transformers from warning."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _name_of(module: nn.Module, lm: nn.Module) -> str:
    return next(name for name, candidate in lm.named_modules() if candidate is module)
