"""Without network, whatever asks the hub ends within seconds and says so."""

import contextlib
import http.server
import socket
import threading
import time

import pytest
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import _http as hub_client
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, pipeline

from mmgpt.hub import io, network
from mmgpt.hub.io import load_folder
from mmgpt.models.builder import build_model
from tests.hub import tiny

BOUND = 15.0  # seconds; what is promised are five, on a machine that does nothing else


@contextlib.contextmanager
def bounded():
    """What is waited for ends in time; what is computed may take ten times as long on a loaded machine."""
    start, computed = time.perf_counter(), time.process_time()
    yield
    assert time.perf_counter() - start < BOUND + 10 * (time.process_time() - computed)


@pytest.fixture(params=['closed port', 'black hole', 'no such host'])
def no_network(request, monkeypatch):
    """An address of the hub at which nothing answers; shorter patience, since the same bound holds for all askers."""
    with socket.socket() as hole:
        hole.bind(('127.0.0.1', 0))
        hole.listen()  # connections are made, and that is all
        port = 9 if request.param == 'closed port' else hole.getsockname()[1]
        address = f'http://127.0.0.1:{port}' if request.param != 'no such host' else 'https://no.such.host.invalid'
        monkeypatch.setattr(constants, 'ENDPOINT', address)
        monkeypatch.setattr(
            constants, 'HUGGINGFACE_CO_URL_TEMPLATE', address + '/{repo_id}/resolve/{revision}/{filename}'
        )
        monkeypatch.setattr(network, 'PATIENCE', 0.5)
        network._silent_since.clear()
        yield address
        network._silent_since.clear()


def vision(name):
    prompts = tiny.prompter()
    encoder = {**tiny.config()['vision_encoder'], 'weights': name}
    return build_model(tiny.config(vision_encoder=encoder), prompts.tokenizer)


def language(name):
    return build_model(tiny.config(language_decoder={'weights': name}), tiny.prompter().tokenizer)


def open_clip(name):
    encoder = {'type': 'OpenClipVision', 'architecture': 'ViT-B-32', 'weights': f'hf-hub:{name}'}
    return build_model(tiny.config(vision_encoder=encoder), tiny.prompter().tokenizer)


ASKING = {
    'a folder': load_folder,
    'the language model of a config': language,
    'the vision encoder of a config': vision,
    'an open_clip tower': open_clip,
    'a tokenizer': AutoTokenizer.from_pretrained,
    'a configuration': AutoConfig.from_pretrained,
    'a model': AutoModelForImageTextToText.from_pretrained,
    'a processor': AutoProcessor.from_pretrained,
    'a pipeline': lambda name: pipeline('image-text-to-text', model=name),
}


@pytest.mark.parametrize('ask', ASKING.values(), ids=ASKING)
def test_a_hub_id_without_network_is_told_at_once(no_network, ask):
    with bounded(), pytest.raises(OSError, match=r"annot be reached|couldn't connect|cannot find the requested files"):
        ask('someone/model')


@pytest.mark.parametrize('no_network', ['black hole'], indirect=True)
def test_the_whole_patience_ends_within_the_bound(no_network, monkeypatch):
    monkeypatch.undo()
    with bounded():
        assert not network.is_reachable(no_network)
        assert not network.is_reachable(no_network)  # it is remembered


def test_requests_to_a_hub_that_answers_are_as_they_were():
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.command)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'' if self.command == 'HEAD' else b'hi')

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for _ in range(2):
            assert get_session().get(f'http://127.0.0.1:{server.server_port}/x', timeout=5).text == 'hi'
        assert asked == ['HEAD', 'GET', 'GET']  # asked once whether it is there
    finally:
        server.shutdown()
        server.server_close()


def test_the_users_own_client_is_kept(monkeypatch):
    before = hub_client._GLOBAL_CLIENT_FACTORY
    own = before.inner
    calls = []
    try:
        set_client_factory(lambda: calls.append('made') or own())
        network.fail_fast_offline()
        network.fail_fast_offline()
        monkeypatch.setattr(network, '_answers', lambda address: False)
        with pytest.raises(OfflineModeIsEnabled, match='did not answer'):
            get_session().get('http://127.0.0.1:9')
        assert calls == ['made']
    finally:
        set_client_factory(before)
        network._silent_since.clear()


def test_a_cached_model_is_used_without_network(monkeypatch):
    monkeypatch.setattr(io, 'is_reachable', lambda: False)
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda name, file: f'/cache/{name}/{file}')
    assert io.locate('someone/model') == ('someone/model', {'local_files_only': True})


def test_a_name_with_a_point_is_a_hub_id_and_a_path_below_a_folder_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(io, 'is_reachable', lambda: True)
    assert io.locate('Qwen/Qwen2.5-7B') == ('Qwen/Qwen2.5-7B', {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'work_dirs').mkdir()
    with pytest.raises(FileNotFoundError, match='no model folder work_dirs/otter'):
        io.locate('work_dirs/otter')
