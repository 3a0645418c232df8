"""The published implementations out of a checkout that the user names, with the dimensions of the other benchmarks."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor, nn

from bench.models import ADDED, LENGTH, clip_arguments
from bench.samples import Made, padded, targets
from bench.training import placed

NEEDS = {
    'OpenFlamingo': 'einops einops-exts open_clip_torch; it was released for torch 2.0.1 and transformers 4.28 to 4.33',
    'Otter': 'einops accelerate peft; it was released for transformers 4.35.1',
}
HEAD_WIDTH = 64  # of their resampler and cross-attention, and what the conversion takes for granted
OTHER_DECODERS = {  # which Otter imports beside LLaMA, and which do not import beside a new transformers
    'falcon.configuration_RW': 'RWConfig',
    'falcon.modelling_RW': 'RWForCausalLM',
    'mpt.configuration_mpt': 'MPTConfig',
    'mpt.modeling_mpt': 'MPTForCausalLM',
    'mpt_redpajama.configuration_mosaic_gpt': 'MosaicGPTConfig',
    'mpt_redpajama.mosaic_gpt': 'MosaicGPT',
}


class CannotRun(RuntimeError):
    """The code of a checkout does not import or does not build here; says what it needs."""


def kind_of(checkout: Path) -> str:
    """Whose code a folder holds.

    Raises:
        CannotRun: of none that is known.
    """
    files = {'OpenFlamingo': 'open_flamingo/src/flamingo.py', 'Otter': 'src/otter_ai/models/otter/modeling_otter.py'}
    for kind, file in files.items():
        if (checkout / file).is_file():
            return kind
    raise CannotRun(
        f'{checkout} is no checkout of OpenFlamingo or Otter: expected {" or ".join(files.values())} in it. Get one by '
        'git clone https://github.com/mlfoundations/open_flamingo or https://github.com/EvolvingLMMs-Lab/Otter'
    )


def published(checkout: Path, every: int, sizes: dict) -> nn.Module:
    """Their model with random weights, open gates, and the parts trained that their code trains.

    Args:
        checkout: the root of a clone.
        every: a gated block before every so many layers.
        sizes: as ``bench.models.SIZES``.

    Raises:
        CannotRun: the code does not import or does not build.
    """
    kind = kind_of(checkout)
    build = {'OpenFlamingo': _open_flamingo, 'Otter': _otter}[kind]
    torch.manual_seed(0)
    try:
        with redirect_stdout(StringIO()):  # Otter's constructor prints every parameter
            model = build(checkout, every, sizes)
    except Exception as error:  # whatever old code dies of beside new libraries
        import transformers

        raise CannotRun(
            f'{kind} of {checkout} does not run here ({type(error).__name__}: {error}).\nIt needs: pip install '
            f'{NEEDS[kind]}; here are torch {torch.__version__} and transformers {transformers.__version__}'
        ) from error
    language = model.lang_encoder
    trained = [model.perceiver, language.get_input_embeddings()]
    trained += [layer.gated_cross_attn_layer for layer in language.model.layers if layer.gated_cross_attn_layer]
    if kind == 'Otter':
        trained.append(language.get_output_embeddings())
    model.requires_grad_(False)
    for part in trained:
        part.requires_grad_(True)
    for name, parameter in model.named_parameters():
        if name.endswith(('attn_gate', 'ff_gate')):
            nn.init.ones_(parameter)
    return model


def loss_of_published(model: nn.Module, samples: list[Made]) -> Tensor:
    """The sum over trained tokens, by their own loss."""
    batch = placed(padded(samples, model.lang_encoder.media_token_id), model)
    pixels, text, mask = (batch[name] for name in ('pixel_values', 'input_ids', 'attention_mask'))
    return model(pixels.unsqueeze(2), text, mask, labels=batch['labels']).loss * targets(samples)


def ours_of_published(model: nn.Module, every: int) -> nn.Module:
    """The same model as ours: the same weights, the same parts trained."""
    from mmgpt.hub.convert.assemble import cross_attention_config, resampler_config
    from mmgpt.models import Flamingo, FlamingoConfig

    tensors = {name: value.clone() for name, value in by_our_names(model, model.state_dict()).items()}
    config = FlamingoConfig(
        vision_encoder=model.described_vision,
        resampler=resampler_config(tensors),
        text_config=model.lang_encoder.config.to_dict(),
        cross_attention=cross_attention_config(tensors, every - 1),
        cross_attn_every_n_layers=every,
        attend='previous',
        without_media='zero_attention',
        media_token_id=model.lang_encoder.media_token_id,
    )
    own = Flamingo(config)
    own.load_state_dict(tensors)
    trained = by_our_names(model, {name: p for name, p in model.named_parameters() if p.requires_grad})
    for name, parameter in own.named_parameters():
        parameter.requires_grad_(name in trained)
    return own


def gradients_of_published(own: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """The gradients of their model under the names of our parameters."""
    return by_our_names(model, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})


def by_our_names(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of their model by our names, as ``mmgpt convert`` finds them.

    Raises:
        CannotRun: one has no place in ours.
    """
    from mmgpt.hub.convert.assemble import renamed
    from mmgpt.hub.convert.layouts import OPEN_FLAMINGO, OTTER, Renamer
    from mmgpt.hub.convert.report import Report

    otter = type(model).__name__.startswith('Otter')
    if otter:  # newer versions of transformers have left out a level of CLIP's names
        old, new = 'vision_encoder.vision_model.', 'vision_encoder.'
        tensors = {
            name if name.startswith(old) or not name.startswith(new) else old + name.removeprefix(new): value
            for name, value in tensors.items()
        }
    report = Report()
    found = renamed(tensors, Renamer(OTTER if otter else OPEN_FLAMINGO, 'model.layers'), report)
    if report.unexpected:
        raise CannotRun(f'their model has tensors that ours has no place for: {report.unexpected[:5]}')
    return found


def _text(sizes: dict) -> dict:
    text = sizes['text']
    return dict(
        vocab_size=text['vocabulary'] + ADDED,
        hidden_size=text['width'],
        intermediate_size=text['inner'],
        num_hidden_layers=text['layers'],
        num_attention_heads=text['heads'],
        max_position_embeddings=LENGTH,
        pad_token_id=None,
    )


def _resampler(sizes: dict) -> dict:
    given = sizes['resampler']
    if given['head_width'] != HEAD_WIDTH:
        raise ValueError(f'their attention has heads of {HEAD_WIDTH}, got head_width={given["head_width"]}')
    return dict(dim=sizes['vision']['width'], depth=given['depth'], num_latents=given['latents'], heads=given['heads'])


def _open_flamingo(checkout: Path, every: int, sizes: dict) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    from mmgpt.models.vision_encoders import OpenClipVision

    with _found_first('open_flamingo', checkout):
        theirs = importlib.import_module('open_flamingo.src.flamingo')
        mixin = importlib.import_module('open_flamingo.src.flamingo_lm').FlamingoLMMixin
        extend = importlib.import_module('open_flamingo.src.utils').extend_instance
    vision = sizes['vision']
    tower = dict(image_size=sizes['image'], patch_size=sizes['patch'], width=vision['width'], layers=vision['layers'])
    tower |= dict(head_width=vision['width'] // vision['heads'], mlp_ratio=vision['inner'] / vision['width'])
    architecture = dict(embed_dim=vision['width'], vision_cfg=tower)
    encoder = OpenClipVision(architecture)
    encoder.tower.output_tokens = True
    language = LlamaForCausalLM(LlamaConfig(**_text(sizes)))
    extend(language, mixin)
    language.set_decoder_layers_attr_name('model.layers')
    vocabulary, width = sizes['text']['vocabulary'], vision['width']
    wrapped = SimpleNamespace(visual=encoder.tower)
    model = theirs.Flamingo(
        wrapped, language, vocabulary, vocabulary + ADDED - 1, width, cross_attn_every_n_layers=every
    )
    model.perceiver = theirs.PerceiverResampler(**_resampler(sizes))
    model.perceiver._use_gradient_checkpointing = False
    with torch.no_grad():  # open_clip gives patches before its last norm, or from 2.23 on after it
        picture = torch.randn(1, 3, sizes['image'], sizes['image'])
        raw = torch.allclose(encoder.tower(picture)[1], encoder(picture), atol=1e-4)
    model.described_vision = dict(type='OpenClipVision', architecture=architecture, normalize_patches=not raw)
    return model


def _otter(checkout: Path, every: int, sizes: dict) -> nn.Module:
    with _found_first('otter_ai', checkout / 'src'), _without_other_decoders(checkout / 'src' / 'otter_ai'):
        theirs = importlib.import_module('otter_ai.models.otter.modeling_otter')
        configuration = importlib.import_module('otter_ai.models.otter.configuration_otter').OtterConfig
    tower = clip_arguments(sizes)
    with tempfile.TemporaryDirectory(prefix='llama_') as folder:  # their constructor loads a tokenizer by name
        _tokenizer(sizes['text']['vocabulary']).save_pretrained(folder)
        text = dict(_text(sizes), model_type='llama', architectures=['LlamaForCausalLM'], _name_or_path=folder)
        config = configuration(vision_config=dict(tower), text_config=text, cross_attn_every_n_layers=every)
        config.text_config._name_or_path = folder
        model = theirs.OtterForConditionalGeneration(config)
    language, width = model.lang_encoder, tower['hidden_size']
    model.perceiver = theirs.OtterPerceiverResampler(**_resampler(sizes))
    language._set_decoder_layers(nn.ModuleList(layer.decoder_layer for layer in language._get_decoder_layers()))
    model.media_token_id = sizes['text']['vocabulary'] + ADDED - 1
    language.init_otter(model.media_token_id, width, every, use_media_placement_augmentation=False)  # for this width
    model.described_vision = dict(type='ClipVision', config=tower)
    return model


def _tokenizer(vocabulary: int):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(['<unk>', '<s>', '</s>', *map(str, range(vocabulary - 3))])}
    ends = dict(unk_token='<unk>', bos_token='<s>', eos_token='</s>', pad_token='<unk>')
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, '<unk>')), **ends)


@contextmanager
def _found_first(package: str, folder: Path) -> Iterator[None]:
    """The package is imported from the folder, even where another one is installed or was imported before."""
    for name in [name for name in sys.modules if name == package or name.startswith(f'{package}.')]:
        del sys.modules[name]
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


@contextmanager
def _without_other_decoders(package: Path) -> Iterator[None]:
    """Otter's modules import without those of the decoders that are not compared here."""
    names = {'otter_ai': package, 'otter_ai.models': package / 'models'}
    names |= {f'otter_ai.models.{path.split(".")[0]}': None for path in OTHER_DECODERS}
    for name, folder in names.items():
        sys.modules[name] = module = ModuleType(name)
        module.__path__ = [] if folder is None else [str(folder)]
    for path, member in OTHER_DECODERS.items():
        sys.modules[f'otter_ai.models.{path}'] = module = ModuleType(path)
        setattr(module, member, type(member, (), {}))
    yield
