"""Language decoders: how to reach into an unmodified Hugging Face causal language model."""

from mmgpt.models.language_decoders.causal_lm import CausalLM as CausalLM
from mmgpt.models.language_decoders.mpt import MPT as MPT
