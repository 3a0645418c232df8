"""Asks the Hugging Face hub once whether it is there, instead of letting its client repeat for half a minute."""

from __future__ import annotations

import contextlib
import threading
import time

from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import _http as hub_client

PATIENCE = 3.0  # seconds to wait for a first answer before a hub is taken for unreachable
REMEMBERED = 30.0  # seconds for which an unreachable hub is not asked again

_answered: set[str] = set()
_silent_since: dict[str, float] = {}  # address -> when it did not answer, by the monotonic clock


def fail_fast_offline() -> None:
    """Lets every request to the hub, also those of transformers and open_clip, fail at once where there is no network.

    Before the first request to an address, that address is asked with a bound of ``PATIENCE`` seconds. Where it does
    not answer, requests end as in the hub's own offline mode: what was downloaded before is used, and anything else
    is one error. Where it answers, nothing differs. Calling it again changes nothing.
    """
    inner = hub_client._GLOBAL_CLIENT_FACTORY  # a factory that the user has set keeps its proxies and certificates
    if getattr(inner, 'fails_fast', False):
        return

    def factory():
        client = inner()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, 'request': [_require_answer, *hooks.get('request', [])]}
        return client

    factory.fails_fast = True
    factory.inner = inner
    set_client_factory(factory)


def is_reachable(address: str | None = None) -> bool:
    """Whether the hub answers; the answer is remembered, a negative one for ``REMEMBERED`` seconds.

    Args:
        address: scheme and host. Default: the hub's, as ``HF_ENDPOINT`` says.
    """
    if constants.is_offline_mode():
        return False
    address = address or constants.ENDPOINT
    if address in _answered:
        return True
    if time.monotonic() - _silent_since.get(address, -REMEMBERED) < REMEMBERED:
        return False
    if _answers(address):
        _answered.add(address)
        return True
    _silent_since[address] = time.monotonic()
    return False


def _require_answer(request) -> None:
    """Event hook of the hub's client, before a request is sent."""
    if constants.is_offline_mode():
        return  # the client says so by itself
    url = request.url
    address = f'{url.scheme}://{url.netloc.decode()}'
    if not is_reachable(address):
        raise OfflineModeIsEnabled(f'{address} cannot be reached: it did not answer within {PATIENCE:g} seconds')


def _answers(address: str) -> bool:
    factory = hub_client._GLOBAL_CLIENT_FACTORY
    answers = []

    def ask() -> None:
        with contextlib.suppress(Exception), getattr(factory, 'inner', factory)() as client:  # whatever the failure is
            answers.append(client.head(address, timeout=PATIENCE, follow_redirects=False))

    # In a thread of its own, since a client's time limit does not bound the look-up of the host's name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers)
