"""A server that OpenAI's clients talk to, with batching. Needs the extra ``serving``."""

import importlib.util

for _package in ('fastapi', 'uvicorn', 'pydantic', 'prometheus_client'):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(f'serving needs {_package}: pip install "mmgpt[serving]"')
