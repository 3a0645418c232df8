"""Trains only the embedding rows of added tokens: no gradient and no optimiser state for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHILD = 'new_token_rows'  # the name under which a model holds this module while it is trained


class NewTokenRows(nn.Module):
    """Holds the rows of added tokens as small parameters and lays them over the frozen embedding and head.

    In the model's state dict the rows are folded into the embedding and the head, and loading takes them from there:
    the key space stays the one of a model without this module. The frozen matrices have zeros in their place, also
    after loading: whatever a run began with, its sums are the same to the last bit.

    Args:
        token_ids: the ids of the added tokens.
        rows: their rows of the input embedding (n, D).
        head_rows: their rows of the output head (n, D); None where the head is tied to the embedding.
        vocabulary: rows of the embedding.
    """

    def __init__(self, token_ids: Sequence[int], rows: Tensor, head_rows: Tensor | None, vocabulary: int) -> None:
        super().__init__()
        ids = torch.tensor(sorted(token_ids), device=rows.device)
        place = torch.full((vocabulary,), -1, device=rows.device)
        place[ids] = torch.arange(len(ids), device=rows.device)
        self.register_buffer('ids', ids, persistent=False)
        self.register_buffer('place', place, persistent=False)
        self.rows = nn.Parameter(rows.detach().clone())
        self.head_rows = None if head_rows is None else nn.Parameter(head_rows.detach().clone())

    def embedded(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of the embedding: the rows of added tokens instead of the frozen ones."""
        place = self.place[args[0]]
        rows = F.embedding(place.clamp(min=0), self.rows)  # the gradient of self.rows[…] takes fifteen times as long
        rows = rows.to(output.dtype)
        scale = getattr(module, 'embed_scale', None)  # Gemma's embeddings multiply what they look up
        if scale is not None:
            rows = rows * (scale.to(rows) if isinstance(scale, Tensor) else scale)
        return torch.where((place >= 0).unsqueeze(-1), rows, output)

    def scored(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of the head: the logits of added tokens from their rows."""
        rows = self.rows if self.head_rows is None else self.head_rows
        bias = getattr(module, 'bias', None)
        bias = None if bias is None else bias[self.ids].to(rows.dtype)
        if type(module) is nn.Linear and not any(parameter.requires_grad for parameter in module.parameters()):
            return _Scored.apply(output, args[0], rows, self.ids, bias)
        return output.index_copy(-1, self.ids, F.linear(args[0], rows, bias).to(output.dtype))


class _Scored(torch.autograd.Function):
    """Writes the logits of added tokens over those of a frozen head, without a second copy of all logits.

    The head's own backward pass runs with the gradients of all logits; its rows of added tokens are zero, so that what
    the trained rows give is all that there is of them.
    """

    @staticmethod
    def forward(ctx, logits, states, rows, ids, bias):
        ctx.save_for_backward(states, rows, ids)
        ctx.mark_dirty(logits)
        return logits.index_copy_(-1, ids, F.linear(states, rows, bias).to(logits.dtype))

    @staticmethod
    def backward(ctx, above):
        states, rows, ids = ctx.saved_tensors
        slope = above.index_select(-1, ids).to(rows.dtype)
        change = (slope @ rows).to(states.dtype)
        return above, change, slope.flatten(0, -2).T @ states.flatten(0, -2).to(rows.dtype), None, None


def train_new_rows(model: nn.Module, token_ids: Sequence[int]) -> NewTokenRows:
    """Freezes the embedding and the head of a model and trains the rows of ``token_ids`` only.

    Args:
        model: has ``get_input_embeddings`` and ``get_output_embeddings`` as Hugging Face's models do.
        token_ids: at least one.

    Raises:
        ValueError: no token was added.
    """
    if not token_ids:
        raise ValueError("train_embeddings='new', but no token was added: use None or 'all'")
    embed, head = model.get_input_embeddings(), model.get_output_embeddings()
    embed.weight.requires_grad_(False)
    head.weight.requires_grad_(False)
    ids = torch.tensor(sorted(token_ids))
    tied = head.weight is embed.weight
    added = NewTokenRows(token_ids, embed.weight[ids], None if tied else head.weight[ids], len(embed.weight))
    for weight in {embed.weight, head.weight}:
        weight.data.index_fill_(0, ids.to(weight.device), 0)
    model.add_module(CHILD, added)
    embed.register_forward_hook(added.embedded)
    head.register_forward_hook(added.scored)
    model.register_state_dict_post_hook(_fold)
    model.register_load_state_dict_pre_hook(_unfold)
    return added


def _fold(model: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """The rows go into copies of the embedding and the head; their own keys leave the state dict."""
    added: NewTokenRows = getattr(model, CHILD)
    for key in [key for key in state if key.startswith(f'{prefix}{CHILD}.')]:
        del state[key]
    folded: dict[int, Tensor] = {}
    for key, weight, rows in _weights(model, added):
        if weight.data_ptr() not in folded:
            folded[weight.data_ptr()] = weight.detach().index_copy(0, added.ids, rows.detach().to(weight.dtype))
        state[prefix + key] = folded[weight.data_ptr()]


def _unfold(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """The rows are taken from the embedding and the head of a loaded state dict, where zeros stand in their place."""
    added: NewTokenRows = getattr(model, CHILD)
    ids = added.ids.cpu()
    for name, parameter in added.named_parameters():
        weight = model.get_input_embeddings().weight if name == 'rows' else model.get_output_embeddings().weight
        for key, candidate, _rows in _weights(model, added):
            if candidate is weight and prefix + key in state:
                state[f'{prefix}{CHILD}.{name}'] = state[prefix + key][ids.to(state[prefix + key].device)]
                break
        else:
            state[f'{prefix}{CHILD}.{name}'] = parameter.detach()  # a part of the weights only
    for key in {prefix + key for key, *_ in _weights(model, added)} & state.keys():
        state[key] = state[key].index_fill(0, ids.to(state[key].device), 0)


def _weights(model: nn.Module, added: NewTokenRows) -> list[tuple[str, Tensor, Tensor]]:
    """Name, frozen weight and trained rows of the embedding and the head; both names where they are tied."""
    embed, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    rows = {id(head): added.rows if added.head_rows is None else added.head_rows, id(embed): added.rows}
    return [
        (name, weight, rows[id(weight)])
        for name, weight in model.named_parameters(remove_duplicate=False)
        if id(weight) in rows
    ]
