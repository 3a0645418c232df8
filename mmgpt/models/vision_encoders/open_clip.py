"""The vision towers of open_clip: its own transformers and those of timm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mmgpt.models.vision_encoders.normalisation import CLIP_MEAN, CLIP_STD
from mmgpt.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class OpenClipVision(nn.Module):
    """Patch features of an open_clip vision tower (a vision transformer or a timm model), without prefix tokens.

    Args:
        architecture: a name that open_clip knows (``'ViT-L-14'``), or its parts inline:
            ``dict(embed_dim=…, vision_cfg=dict(…), quick_gelu=…)`` as in open_clip's model configs.
        quick_gelu: use the activation of OpenAI's weights. Default None: what the architecture says.
        normalize_patches: apply the tower's final norm to the patches. Default False: the published models of this
            family take them before it.
        mean, std: per channel, of the pictures that the weights were trained on. Default: CLIP's.

    Example:
        >>> vision = dict(image_size=32, layers=1, width=16, head_width=8, patch_size=8)
        >>> encoder = OpenClipVision(dict(embed_dim=16, vision_cfg=vision))
        >>> encoder(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 16, 16])
    """

    def __init__(
        self,
        architecture: str | dict[str, Any],
        quick_gelu: bool | None = None,
        normalize_patches: bool = False,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        import open_clip  # half a second, with timm: not for those who use other towers
        from open_clip.model import CLIPVisionCfg, _build_vision_tower

        super().__init__()
        if isinstance(architecture, str):
            found = open_clip.get_model_config(architecture)
            if found is None:
                raise ValueError(f'open_clip knows no model {architecture!r}; known are: {open_clip.list_models()}')
            architecture = found
        vision = CLIPVisionCfg(**architecture['vision_cfg'])
        quick = architecture.get('quick_gelu', False) if quick_gelu is None else quick_gelu
        self.tower = _build_vision_tower(architecture['embed_dim'], vision, quick_gelu=quick)
        self.normalize_patches = normalize_patches
        self.mean, self.std = tuple(mean), tuple(std)
        trunk = getattr(self.tower, 'trunk', None)
        self.width: int = trunk.num_features if trunk is not None else vision.width
        size = vision.image_size
        self.image_size: int = size if isinstance(size, int) else size[0]

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (N, 3, H, W) -> patches (N, P, D)."""
        layers = self.tower.forward_intermediates(
            frames,
            indices=1,
            intermediates_only=True,
            output_fmt='NLC',
            normalize_intermediates=self.normalize_patches,
        )
        return layers['image_intermediates'][-1]

    def load_weights(self, source: str, revision: str | None = None) -> None:
        """Loads the tower's weights.

        Args:
            source: a file (``.safetensors`` or ``.pt``: a whole open_clip model or its ``visual.`` part), a folder that
                holds ``open_clip_model.safetensors``, or ``hf-hub:owner/name``.
            revision: of the hub repository.

        Raises:
            OSError: there is none, or it has to be downloaded and cannot be.
            ValueError: its keys or shapes are not this tower's.
        """
        path = Path(source)
        if source.startswith('hf-hub:'):
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(source[len('hf-hub:') :], 'open_clip_model.safetensors', revision=revision))
        elif path.is_dir():
            path = path / 'open_clip_model.safetensors'
        if not path.is_file():
            raise FileNotFoundError(
                f'no vision weights at {path}: give a .safetensors or .pt file, or hf-hub:owner/name'
            )
        if path.suffix == '.safetensors':
            state = load_file(path)
        else:
            try:
                state = torch.load(path, map_location='cpu', weights_only=True)
            except RuntimeError as error:
                if 'TorchScript' not in str(error):
                    raise
                raise ValueError(
                    f'{path} is a TorchScript archive, as OpenAI published its CLIP, and would have to be run: give '
                    'the same weights as a state dict, such as hf-hub:timm/vit_large_patch14_clip_224.openai'
                ) from None
            state = state.get('state_dict', state)
        state = {key.removeprefix('module.'): value for key, value in state.items()}  # of several processes' training
        prefix = 'visual.'
        if any(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        try:
            self.tower.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f'the vision weights {path} do not fit the architecture: {error}') from error
