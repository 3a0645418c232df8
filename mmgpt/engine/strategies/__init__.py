"""How a model is spread over processes.

A run without a strategy uses one process. Strategies are plugins of ``mmgpt.registry.STRATEGIES``.
"""
