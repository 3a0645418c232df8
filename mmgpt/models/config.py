"""The configuration of the composed model, as saved in ``config.json``."""

from __future__ import annotations

from typing import Any, get_args

from transformers import AutoConfig, PretrainedConfig

from mmgpt.models.media_span import Attend


class FlamingoConfig(PretrainedConfig):
    """The parts of a Flamingo-type model and how they meet.

    The parts are given as a config gives them: a dict with ``type``, a name in the part's registry, and the arguments
    of its constructor.

    Args:
        vision_encoder: for example ``dict(type='ClipVision', config=dict(hidden_size=…, …))``.
        resampler: for example ``dict(type='PerceiverResampler', num_latents=64)``; its width is the encoder's.
        text_config: the language model's own configuration, or its arguments with ``model_type``.
        language_decoder: how to reach into it. Default: ``dict(type='MPT')`` for MPT, else ``dict(type='CausalLM')``.
        cross_attention: for example ``dict(type='GatedCrossAttention', heads=8)``; its widths follow from the others.
        cross_attn_every_n_layers: there is a gated block before every n-th layer. Default: 1.
        cross_attn_first_layer: the index of the first layer with a gated block. Default: n - 1, as OpenFlamingo has it.
        attend: which media text may see, see ``mmgpt.models.media_span``. Default: ``'previous'``.
        without_media: for a sample without media, ``'skip'``: the gated blocks are not run, so the sample equals the
            bare language model (MultiModal-GPT); ``'zero_attention'``: attention adds zero and the gated feed-forward
            still runs (OpenFlamingo, Otter). Default: ``'skip'``.
        adapter: for example ``dict(type='LoRA', slots=['self_attention'], r=16)``, see ``mmgpt.models.adapters``.
            Default: None.
        media_token_id: the id of the ``<image>`` mark.
        plugin_modules: for parts from outside mmgpt, type -> the module to import before the model is loaded.
    """

    model_type = 'mmgpt_flamingo'
    sub_configs = {'text_config': AutoConfig}

    def __init__(
        self,
        vision_encoder: dict[str, Any] | None = None,
        resampler: dict[str, Any] | None = None,
        text_config: dict[str, Any] | PretrainedConfig | None = None,
        language_decoder: dict[str, Any] | None = None,
        cross_attention: dict[str, Any] | None = None,
        cross_attn_every_n_layers: int = 1,
        cross_attn_first_layer: int | None = None,
        attend: str = 'previous',
        without_media: str = 'skip',
        adapter: dict[str, Any] | None = None,
        media_token_id: int | None = None,
        plugin_modules: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        if without_media not in ('skip', 'zero_attention'):
            raise ValueError(f"without_media must be 'skip' or 'zero_attention', got {without_media!r}")
        if attend not in get_args(Attend):
            raise ValueError(f'attend must be one of {", ".join(get_args(Attend))}, got {attend!r}')
        if cross_attn_every_n_layers < 1:
            raise ValueError(f'cross_attn_every_n_layers must be at least 1, got {cross_attn_every_n_layers}')
        if cross_attn_first_layer is not None and cross_attn_first_layer < 0:
            raise ValueError(f'cross_attn_first_layer must be the index of a layer, got {cross_attn_first_layer}')
        if not isinstance(text_config, PretrainedConfig):
            text_config = dict(text_config or {'model_type': 'llama'})
            text_config = AutoConfig.for_model(text_config.pop('model_type'), **text_config)
        self.text_config = text_config
        self.vision_encoder = dict(vision_encoder or {'type': 'ClipVision'})
        self.resampler = dict(resampler or {'type': 'PerceiverResampler'})
        decoder = 'MPT' if text_config.model_type == 'mpt' else 'CausalLM'
        self.language_decoder = dict(language_decoder or {'type': decoder})
        self.cross_attention = dict(cross_attention or {'type': 'GatedCrossAttention'})
        self.cross_attn_every_n_layers = cross_attn_every_n_layers
        self.cross_attn_first_layer = cross_attn_first_layer
        self.attend = attend
        self.without_media = without_media
        self.adapter = None if adapter is None else dict(adapter)
        self.media_token_id = media_token_id
        self.plugin_modules = dict(plugin_modules or {})
        kwargs.setdefault('tie_word_embeddings', False)  # the language model ties its own
        kwargs.setdefault('attn_implementation', text_config._attn_implementation)  # else the parent's None spreads
        super().__init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PretrainedConfig:
        """The language model's configuration, also while this one is being made."""
        return self.__dict__.get('text_config', self)
