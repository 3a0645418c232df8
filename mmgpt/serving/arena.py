"""Two models side by side: who answered is told after the vote, which becomes a battle record."""

from __future__ import annotations

import random
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter, Request

from mmgpt.inference.batching import BatchEngine
from mmgpt.serving.chat_completions import ERRORS, respond
from mmgpt.serving.errors import ApiError
from mmgpt.serving.gate import Body
from mmgpt.serving.log import Log
from mmgpt.serving.schema import ChatRequest, Completion, Strict
from mmgpt.serving.turn import Turn

router = APIRouter(prefix='/api/arena', tags=['page'])
SIDES = ('a', 'b')
WINNERS = {'a': 'model_a', 'b': 'model_b', 'tie': 'tie', 'bothbad': 'tie (bothbad)'}
MAX_BATTLES = 1000  # that wait for a vote; the oldest is forgotten


class Contestant(NamedTuple):
    """A model that takes part: its name, and by which engine and adapter it answers."""

    name: str
    engine: BatchEngine
    adapter: str | None = None


class Rival(NamedTuple):
    """What a model is compared with.

    Args:
        name: in battle records.
        load: gives the other model and its processor; None: ``name`` is one of the adapters.
        against: the name of the model itself in battle records. Default: its id.
    """

    name: str
    load: Callable[[], tuple[Any, Any]] | None = None
    against: str | None = None

    def contestants(self, name: str, engine: BatchEngine, engine_of: Callable[..., BatchEngine]) -> list[Contestant]:
        """Both models.

        Args:
            name: the id of the model.
            engine: of the model.
            engine_of: makes another engine of a model, its processor, and adapters.

        Raises:
            ValueError: there is no such adapter.
        """
        own = Contestant(self.against or name, engine)
        if self.load is not None:
            return [own, Contestant(self.name, engine_of(*self.load(), {}))]
        if self.name not in engine.adapters:
            raise ValueError(
                f'there is no adapter {self.name!r} to compare with: {", ".join(engine.adapters) or "none"}'
            )
        return [own, Contestant(self.name, engine, self.name)]


@dataclass
class Battle:
    """One conversation with both models; ``sides`` are those of a and b."""

    sides: dict[str, Contestant]
    answered: set[str] = field(default_factory=set)


class Arena:
    """The battles that are not voted on yet.

    Args:
        contestants: the two models.
        log: where votes are kept.
        chance: draws the sides. Default: at random.
    """

    def __init__(self, contestants: Sequence[Contestant], log: Log, chance: random.Random | None = None) -> None:
        self.contestants, self.log, self.chance = list(contestants), log, chance or random.SystemRandom()
        self._battles: OrderedDict[str, Battle] = OrderedDict()

    def close(self) -> None:
        """Ends the engines of the contestants."""
        for contestant in self.contestants:
            contestant.engine.close()

    def begin(self) -> str:
        """A new battle's id; its sides are drawn."""
        name = uuid.uuid4().hex
        drawn = self.chance.sample(self.contestants, 2)
        self._battles[name] = Battle(dict(zip(SIDES, drawn, strict=True)))
        while len(self._battles) > MAX_BATTLES:
            self._battles.popitem(last=False)
        return name

    def battle(self, name: str) -> Battle:
        """The battle of an id.

        Raises:
            ApiError: 404, there is none, or it was voted on.
        """
        if name not in self._battles:
            raise ApiError(404, 'this battle is over: begin a new one', 'no_battle')
        return self._battles[name]

    def vote(self, name: str, winner: str) -> dict[str, str]:
        """Ends a battle, and tells who the sides were.

        Raises:
            ApiError: 404 as of ``battle``; 409, a side has not answered yet.
        """
        battle = self.battle(name)
        if battle.answered != set(SIDES):
            raise ApiError(409, 'vote once both have answered', 'not_answered')
        names = {side: contestant.name for side, contestant in battle.sides.items()}
        self.log.battle(names['a'], names['b'], WINNERS[winner])
        del self._battles[name]
        return names


class BlindTurn(Turn):
    """A request to one side of a battle, in which that side's name stands for the model's.

    Args:
        body: what the client sent; its ``model`` is the side.
        state: of the application.
        bytes_: as of ``Turn``.
        battle: of the request.
    """

    def __init__(self, body: ChatRequest, state: Any, bytes_: Body, battle: Battle) -> None:
        self.battle, self.contestant = battle, battle.sides[body.model]
        parts = {name: getattr(state, name) for name in ('settings', 'readers', 'admission', 'metrics')}
        super().__init__(body, SimpleNamespace(engine=self.contestant.engine, name=body.model, **parts), bytes_)

    def _adapter(self) -> str | None:
        return self.contestant.adapter

    def close(self, status: int) -> None:
        """As of ``Turn``; the side has answered once it did so to the end."""
        if status == 200:
            self.battle.answered.add(self.body.model)
        super().close(status)


class Vote(Strict):
    """Which side was better."""

    winner: Literal['a', 'b', 'tie', 'bothbad']


@router.post('/battles', status_code=201)
async def begin(http: Request) -> dict[str, str]:
    """Begins a battle."""
    return {'id': _arena(http).begin()}


@router.post('/battles/{name}/chat', response_model=Completion, responses=ERRORS)
async def chat(name: str, body: ChatRequest, http: Request) -> Any:
    """As ``/v1/chat/completions``; the model is a side, a or b."""
    battle = _arena(http).battle(name)
    if body.model not in SIDES:
        raise ApiError(400, f"model: expected 'a' or 'b', got {body.model!r}", 'invalid_value', 'model')
    return await respond(BlindTurn(body, http.app.state, http.state.body, battle), http)


@router.post('/battles/{name}/vote')
async def vote(name: str, body: Vote, http: Request) -> dict[str, str]:
    """Keeps a vote, and tells the names of the sides."""
    return _arena(http).vote(name, body.winner)


def _arena(http: Request) -> Arena:
    arena = http.app.state.arena
    if arena is None:
        raise ApiError(404, 'this server has one model: start it with --compare and --log-dir', 'no_arena')
    return arena
