"""Naming held-out digits after demonstrations of all ten: for tools/analysis_tools/probe_context.py."""

evaluation = dict(
    type='Evaluation',
    task=dict(type='DigitNaming'),
    shots=[0, 2, 4, 8],
    seeds=[0, 1, 2],
    style='template',
    batch_size=64,
)
