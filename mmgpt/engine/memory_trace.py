"""How many bytes of tensors a training step holds, without computing it.

The model's own code runs once, forward and backward, on tensors that have shapes and no values (``FakeTensorMode``).
What decides shapes, ids and masks, is computed for real. So whatever the model does is counted as it is done: casts of
autocast, what autograd keeps, what activation checkpointing makes again.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from mmgpt.models import attention, loss
from mmgpt.structures import Batch


@dataclass(frozen=True)
class Step:
    """The bytes of a step beside those of parameters and optimiser."""

    peak: int  # the most that was alive at once, gradients included
    activations: int  # the most without the gradients
    gradients: int  # of all that is trained


def trace_step(
    model: nn.Module, batch: Batch, precision: str = 'fp32', device: str = 'cuda', half: bool = False
) -> Step:
    """Runs a step of a model without computing it.

    Args:
        model: built on the meta device; it can be traced again, and is of no other use afterwards.
        batch: real tensors; values of ``frames`` do not matter.
        precision: 'fp32' or 'bf16', as of the optimiser's wrapper.
        half: with parameters in bfloat16, as strategies that gather them so compute.
        device: 'cuda' takes the attention and the chunks of logits as they are on a GPU, 'cpu' as on a CPU.

    Example:
        >>> step = trace_step(model, plan_batch(model, rows=4, tokens=512), 'bf16')  # doctest: +SKIP
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    whole = {id(module): dict(module._parameters) for module in model.modules()}
    _materialise(model, fake, torch.bfloat16 if half else None)
    frames = {name: _like(value, fake) for name, value in batch.items() if name in ('frames', 'vision_features')}
    counting = _Counting(fake, [p for p in model.parameters() if p.requires_grad])
    with ExitStack() as stack:
        if device == 'cuda':
            stack.enter_context(_as_on_a_gpu())
        stack.enter_context(counting)
        with torch.autocast('cpu', torch.bfloat16) if precision == 'bf16' else nullcontext():
            sums = model.compute_loss({**batch, **frames})
        if sums.loss_sum.requires_grad:
            sums.loss_sum.backward()
        del sums
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    for module in model.modules():
        module._parameters.update(whole[id(module)])
    return Step(counting.peak, counting.peak_of_others, gradients)


def plan_batch(
    model: nn.Module,
    rows: int,
    tokens: int,
    images: int = 1,
    frames: int = 1,
    samples: int = 1,
    trained: float = 0.5,
    real: bool = False,
) -> Batch:
    """A batch of given sizes, for ``trace_step``.

    Args:
        model: whose mark of a medium and picture size are taken.
        rows: of the batch.
        tokens: of a row.
        images: media of a sample, all distinct.
        frames: of a medium.
        samples: of a row (packed), all of one length.
        trained: the share of tokens that have a label.
        real: whether the pictures have pixels, black ones.
    """
    mark = model.config.media_token_id
    lengths = [tokens // samples + (place < tokens % samples) for place in range(samples)]
    if min(lengths) < images + 2:
        raise ValueError(f'{samples} samples with {images} pictures each do not go into a row of {tokens} tokens')
    ids = torch.full((rows, tokens), 0 if mark else 1)
    labels, start = torch.full((rows, tokens), -100), 0
    for length in lengths:
        ids[:, start : start + images] = mark
        answer = min(round(trained * length), length - images)
        labels[:, start + length - answer : start + length] = 1
        start += length
    segments = torch.arange(1, samples + 1).repeat_interleave(torch.tensor(lengths)).expand(rows, -1).contiguous()
    batch = Batch(
        input_ids=ids,
        labels=labels,
        position_ids=torch.cat([torch.arange(length) for length in lengths]).expand(rows, -1).contiguous(),
        segment_ids=segments,
        loss_weights=(labels >= 0).float(),
        kinds=torch.full((rows, samples), int(images > 0)),
    )
    count = rows * samples * images
    if count:
        side = model.vision_encoder.image_size
        batch['media_frames'] = torch.arange(count * frames).view(rows, samples * images, frames)
        make = torch.zeros if real else partial(torch.empty, device='meta')
        batch['frames'] = make(count * frames, 3, side, side, dtype=torch.uint8)
    else:
        batch['media_frames'] = torch.zeros(rows, 0, 0, dtype=torch.long)
    return batch


def _materialise(model: nn.Module, fake: FakeTensorMode, dtype: torch.dtype | None) -> None:
    """Gives the modules of a model tensors of that mode; tied ones stay tied."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    made[id(parameter)] = nn.Parameter(
                        _like(parameter, fake, dtype), requires_grad=parameter.requires_grad
                    )
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None and (buffer.is_floating_point() or buffer.device.type == 'meta'):
                module._buffers[name] = _like(buffer, fake)


def _like(tensor: Tensor, fake: FakeTensorMode, dtype: torch.dtype | None = None) -> Tensor:
    with fake:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype or tensor.dtype, device='cpu')


class _Counting(TorchDispatchMode):
    """Runs what has values for real and all else on shapes alone, and follows every storage until it is freed."""

    def __init__(self, fake: FakeTensorMode, trained: list[nn.Parameter]) -> None:
        super().__init__()
        self.fake = fake
        self.trained = trained
        self.now = self.peak = self.peak_of_others = self.of_gradients = 0
        self.known: dict[int, int] = {}
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(self._gradient)
        self.grown: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        before = {tensor.untyped_storage()._cdata for tensor in given}
        out = self._run(func, given, args, kwargs)
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if storage._cdata not in before and storage._cdata not in self.known:
                self._follow(storage)
        return out

    def _run(self, func, given: list[Tensor], args, kwargs):
        if any(isinstance(tensor, FakeTensor) for tensor in given):
            if func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_, torch.ops.aten.index_put):
                args = (args[0], _as_numbers(args[1]), *args[2:])
            with self.fake:
                args, kwargs = tree_map_only(Tensor, self._shape_of, (args, kwargs))
                return func(*args, **kwargs)
        if not given:
            dtype = kwargs.get('dtype')
            if dtype is not None and dtype.is_floating_point:
                with self.fake:
                    return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _shape_of(self, tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else _like(tensor, self.fake)

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def gone() -> None:
            self.now -= self.known.pop(key)
            if key in self.grown:
                self.grown.discard(key)
                self.of_gradients -= size

        self.known[key] = size
        weakref.finalize(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
        self.peak_of_others = max(self.peak_of_others, self.now - self.of_gradients)

    def _gradient(self, parameter: nn.Parameter) -> None:
        key = parameter.grad.untyped_storage()._cdata
        if key in self.known and key not in self.grown:
            self.grown.add(key)
            self.of_gradients += self.known[key]


def _as_numbers(indices: list[Tensor | None]) -> list[Tensor | None]:
    """Real masks become numbers, so that the result has a known size."""
    found: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor):
            found += index.nonzero(as_tuple=True)
        else:
            found.append(index)
    return found


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """A context in which attention and logits take the memory that they take on a GPU."""
    chunks, kernel = loss.LOGITS_AT_ONCE, F.scaled_dot_product_attention
    loss.LOGITS_AT_ONCE = (chunks[0], chunks[0])
    attention.PRODUCTS_ON_CPUS = False
    F.scaled_dot_product_attention = _fused_attention  # a mode would not be there where activations are made again
    try:
        yield
    finally:
        F.scaled_dot_product_attention = kernel
        attention.PRODUCTS_ON_CPUS = True
        loss.LOGITS_AT_ONCE = chunks


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Attention with the memory of the fused kernels of GPUs: no weights are kept, only a number for each query."""
    if torch.is_autocast_enabled('cpu'):
        query, key, value = (part.to(torch.bfloat16) for part in (query, key, value))
    return _Fused.apply(query, key, value)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value):
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx, above):
        return tuple(torch.empty_like(part) for part in ctx.saved_tensors[:3])
