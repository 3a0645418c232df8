"""Packages mmgpt. The folder ``tools`` becomes the module ``mmgpt_tools``, reached through the command ``mmgpt``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """The version that the package says it has."""
    text = (ROOT / 'mmgpt/__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


def requirements() -> list[str]:
    """The lines of requirements.txt without comments."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


def tools() -> list[str]:
    """The tools' modules, as they are installed."""
    return ['mmgpt_tools', *(f'mmgpt_tools.{name}' for name in find_packages('tools'))]


def readme() -> str:
    """The project's description."""
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.exists() else ''


DEEPSPEED = ['deepspeed>=0.19']  # no part of 'all': it builds from source against the torch that is installed
QUANTIZATION = ['bitsandbytes>=0.45']  # language models in 8 and 4 bits; no part of 'all': it has no wheel everywhere
EXTRAS = {
    'demo': ['scikit-learn>=1.4'],  # the pictures of the digits demo and its baselines
    'trainers': ['accelerate>=1.0', 'trl>=1.0', 'datasets>=3'],  # transformers' Trainer, TRL's, device maps
    'video': ['av>=13'],  # reads video files; lists of pictures need nothing
    'streaming': ['aiohttp>=3.9'],  # data sets that stay on a web server; hf:// needs nothing
    'pretraining': ['scipy>=1.11'],  # matches the pictures of web pages with their sentences
    'serving': ['fastapi>=0.115', 'uvicorn>=0.30', 'starlette>=0.40', 'pydantic>=2.7', 'prometheus_client>=0.20'],
    'evaluation': [
        'lemminflect>=0.2.3',
        'pycocoevalcap>=1.2',
        'pycocotools>=2',
    ],  # stems (OK-VQA); METEOR, SPICE (Java)
    'endpoint': ['openai>=2'],  # asks OpenAI-compatible servers
    'syphus': ['openai>=2', 'lingua-language-detector>=2'],  # instructions by chat models; tells languages
    'wandb': ['wandb>=0.17'],  # log viewers beside TensorBoard
    'mlflow': ['mlflow>=2.14'],
    'dev': [
        'pytest>=8',
        'pytest-xdist>=3.6',
        'av>=13',
        'hypothesis>=6.100',
        'lingua-language-detector>=2',
        'openai>=2',
        'playwright>=1.45',  # drives the system's Chromium
        'ruff>=0.6',
        'scikit-learn>=1.4',
        'scipy>=1.11',
    ],
}

setup(
    name='mmgpt',
    version=version(),
    description='Trains, evaluates and serves Flamingo-type vision-language models',
    long_description=readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=[*find_packages(include=['mmgpt', 'mmgpt.*']), *tools()],
    package_dir={'mmgpt_tools': 'tools'},
    package_data={
        'mmgpt': [
            'data/browse/page.html',
            'syphus/pages/*',
            'syphus/prompts/*',
            'evaluation/published.json',
            'serving/page/static/*',
            'evaluation/report/page.html',
        ],
        'mmgpt_tools': ['*.sh'],
    },
    install_requires=requirements(),
    extras_require={
        **EXTRAS,
        'quantization': QUANTIZATION,
        'deepspeed': DEEPSPEED,
        'all': sorted({name for extra in EXTRAS.values() for name in extra}),
    },
    entry_points={
        'console_scripts': ['mmgpt = mmgpt_tools.cli:main'],
        'lmms_eval.models': ['mmgpt = mmgpt.evaluation.harnesses.lmms_eval:manifest'],
    },
    classifiers=[
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
