"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from mmgpt.inference.batching import BatchEngine

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counters of one server.

    Args:
        engine: gives the engine, or None while it is loading.
    """

    def __init__(self, engine: Callable[[], BatchEngine | None]) -> None:
        self.registry = CollectorRegistry()
        common = dict(namespace='mmgpt', registry=self.registry)
        self.requests = Counter('requests', 'Chat completions, by model and status', ['model', 'status'], **common)
        self.prompt_tokens = Counter('prompt_tokens', 'Tokens of prompts', **common)
        self.cached_tokens = Counter('cached_prompt_tokens', 'Of those, tokens not computed again', **common)
        self.generated_tokens = Counter('generated_tokens', 'Tokens of answers', **common)
        self.first = Histogram(
            'time_to_first_token_seconds', 'From the request to the first token', buckets=SECONDS, **common
        )
        self.whole = Histogram('request_seconds', 'From the request to the last token', buckets=SECONDS, **common)
        self.registry.register(_EngineState(engine))

    def text(self) -> bytes:
        """All of them in Prometheus' format."""
        return generate_latest(self.registry)


class _EngineState:
    """What the engine knows of itself at this moment."""

    def __init__(self, engine: Callable[[], BatchEngine | None]) -> None:
        self._engine = engine

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """For Prometheus' client."""
        engine = self._engine()
        yield GaugeMetricFamily('mmgpt_loaded', '1 when requests are answered', value=int(engine is not None))
        if engine is None:
            return
        yield GaugeMetricFamily('mmgpt_waiting_requests', 'Requests that wait', value=engine.waiting)
        yield GaugeMetricFamily('mmgpt_running_rows', 'Answers that are decoded', value=engine.running)
        yield GaugeMetricFamily('mmgpt_prefix_bytes', 'Memory of kept texts', value=engine.prefixes.bytes)
        yield CounterMetricFamily('mmgpt_decode_steps', 'Steps of decoding', value=engine.steps)
        yield CounterMetricFamily(
            'mmgpt_decoded_rows', 'Rows of all steps; over the steps it is the mean batch size', value=engine.decoded
        )
