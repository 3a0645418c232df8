"""The server as a user starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')

from mmgpt.hub.io import save_folder
from tests.hub import tiny
from tests.serving.site import generated, image, question
from tools import serve

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('argv', 'told'),
    [
        (['nowhere'], 'nowhere'),
        (['nowhere', '--import', 'no_such_plugin'], 'no_such_plugin'),
        (['nowhere', '--dtype', 'bf16'], "'bf16'"),
        (['nowhere', '--device', 'gpu'], "'gpu'"),
        (['nowhere', '--port', '99999'], '0 to 65535'),
        (['nowhere', '--port', '-1'], '0 to 65535'),
        (['nowhere', '--max-tokens', '0'], 'max_tokens must be at least 1'),
        (['nowhere', '--max-batch', '0'], 'max_batch must be at least 1'),
        (['nowhere', '--max-waiting', '-1'], 'max_waiting must be at least 0'),
        (['nowhere', '--timeout', '-1'], 'timeout must be more than 0'),
    ],
)
def test_what_cannot_be_served_is_one_message_and_code_2(argv, told, capsys):
    assert serve.main(['--port', '0', '--device', 'cpu', *argv]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_a_port_that_is_taken(capsys):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        assert serve.main(['nowhere', '--port', str(taken.getsockname()[1])]) == 2
    assert 'choose another --port' in capsys.readouterr().err


@pytest.mark.parametrize('adapter', ['birds', '=folder', 'birds='])
def test_an_adapter_needs_name_and_folder(adapter, capsys):
    with pytest.raises(SystemExit) as caught:
        serve.parse(['model', '--adapters', adapter])
    assert caught.value.code == 2
    assert 'NAME=DIR' in capsys.readouterr().err


def test_an_empty_key_is_none(capsys):
    with pytest.raises(SystemExit) as caught:
        serve.parse(['model', '--api-key', ''])
    assert caught.value.code == 2
    assert '--api-key is empty' in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_of_its_own(tmp_path):
    openai = pytest.importorskip('openai', reason='pip install "mmgpt[dev]"')
    save_folder(tmp_path / 'otter', *tiny.model_and_processor())
    process = subprocess.Popen(
        [sys.executable, 'tools/serve.py', str(tmp_path / 'otter'), '--port', '0', '--device', 'cpu'],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'MMGPT_API_KEY': 'secret'},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.match(r'http://127\.0\.0\.1:\d+', process.stdout.readline())[0]
        up = False
        while not up:
            assert process.poll() is None
            time.sleep(0.2)
            try:
                up = urlopen(f'{address}/health').status == 200
            except URLError:
                continue
        with openai.OpenAI(base_url=f'{address}/v1', api_key='secret', max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ['otter']
            messages = question('What is it?', image(0), image(1))
            answer = client.chat.completions.create(model='otter', messages=messages, max_tokens=8)
            assert answer.choices[0].message.content == generated(messages)
            with pytest.raises(openai.AuthenticationError):
                client.with_options(api_key='wrong').models.list()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130, -signal.SIGINT)
