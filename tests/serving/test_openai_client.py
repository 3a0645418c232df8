"""The official client talks to the server: text, pictures, video, streams, errors, adapters."""

import copy
import time

import numpy as np
import pytest
import torch

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')
openai = pytest.importorskip('openai', reason='pip install "mmgpt[dev]"')

from mmgpt.models.adapter_files import save_adapter  # noqa: E402
from mmgpt.models.adapters import LoRA, adapter_parameters  # noqa: E402
from mmgpt.serving.settings import ServerSettings  # noqa: E402
from tests.hub import tiny  # noqa: E402
from tests.serving.site import generated, image, question, serving, url  # noqa: E402


@pytest.fixture(scope='module')
def adapted(tmp_path_factory):
    """The folder of an adapter, and the model with it."""
    model = copy.deepcopy(tiny.model_and_processor()[0])
    torch.manual_seed(3)
    LoRA(slots=['cross_attention', 'decoder_mlp'], r=4).inject(model)
    with torch.no_grad():
        for _, parameter in adapter_parameters(model):
            parameter.add_(torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp('birds')
    save_adapter(model.eval(), folder)
    return folder, model


@pytest.fixture(scope='module')
def site(adapted):
    def load():
        model, processor = tiny.model_and_processor()
        return copy.deepcopy(model), processor

    settings = ServerSettings(api_key='secret', max_tokens=8)
    with serving(load, settings=settings, adapters={'birds': adapted[0]}) as (address, app):
        yield address, app


@pytest.fixture(scope='module')
def client(site):
    with openai.OpenAI(base_url=f'{site[0]}/v1', api_key='secret', max_retries=0) as made:
        yield made


@pytest.mark.parametrize('count', [0, 1, 2, 5])
def test_answers_are_those_of_generate(client, count):
    messages = question('What is it?', *map(image, range(count)))
    answer = client.chat.completions.create(model='tiny', messages=messages)
    assert answer.choices[0].message.content == generated(messages)
    assert answer.choices[0].finish_reason in ('stop', 'length')
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 1 <= usage.completion_tokens <= 8


def test_without_a_picture_it_is_the_bare_language_model(client):
    messages = question('What is it called?')
    model, processor = tiny.model_and_processor()
    ids = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    bare = model.language_model.generate(
        ids, max_new_tokens=8, do_sample=False, eos_token_id=processor.stop_token_ids, pad_token_id=0
    )
    answer = client.chat.completions.create(model='tiny', messages=messages).choices[0].message.content
    assert answer == processor.decode(bare[0, ids.shape[1] :], skip_special_tokens=True).strip()


def test_a_dialogue_with_a_system_text_goes_on_from_what_was_computed(client):
    messages = [{'role': 'system', 'content': 'Look.'}, *question('What is it?', image(0))]
    first = client.chat.completions.create(model='tiny', messages=messages).choices[0].message.content
    messages += [{'role': 'assistant', 'content': first}, *question('And this?', image(1))]
    answer = client.chat.completions.create(model='tiny', messages=messages)
    assert answer.choices[0].message.content == generated(messages)
    assert answer.usage.prompt_tokens_details.cached_tokens > 0


def test_a_video(client, tmp_path):
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    path = tmp_path / 'grey.mp4'
    with av.open(str(path), 'w') as video:
        stream = video.add_stream('mpeg4', rate=10)
        stream.width = stream.height = 32
        for level in range(0, 250, 20):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8))))
        video.mux(stream.encode())
    part = {'type': 'video_url', 'video_url': {'url': url(path.read_bytes(), 'video/mp4')}}
    answer = client.chat.completions.create(model='tiny', messages=question('What?', part)).choices[0]
    expected = generated(question('What?', {'type': 'video', 'video': str(path)}))
    assert answer.message.content == expected


def test_a_stream_makes_the_same_answer(client):
    messages = question('What is it?', image(0), image(1))
    whole = client.chat.completions.create(model='tiny', messages=messages, max_tokens=20)
    chunks = list(
        client.chat.completions.create(
            model='tiny', messages=messages, max_tokens=20, stream=True, stream_options={'include_usage': True}
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert ''.join(piece or '' for piece in pieces) == whole.choices[0].message.content
    assert sum(bool(piece) for piece in pieces) > 1
    assert chunks[0].choices[0].delta.role == 'assistant'
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_settings(client):
    messages = question('What is it?', image(2))
    draws = dict(model='tiny', messages=messages, temperature=1.5, top_p=0.9, n=3, max_completion_tokens=6)
    one, other, third = (client.chat.completions.create(**draws, seed=seed) for seed in (5, 5, 6))
    texts = [[choice.message.content for choice in answer.choices] for answer in (one, other, third)]
    assert texts[0] == texts[1] != texts[2]
    assert [choice.index for choice in one.choices] == [0, 1, 2]
    greedy = generated(messages, 20)
    stop = greedy[5:8]
    answer = client.chat.completions.create(model='tiny', messages=messages, max_tokens=20, stop=[stop, 'zzz'])
    assert answer.choices[0].message.content == greedy[: greedy.index(stop)].strip()
    assert answer.choices[0].finish_reason == 'stop'
    told = client.chat.completions.create(
        model='tiny', messages=messages, max_tokens=3, logprobs=True, top_logprobs=2
    ).choices[0]
    assert len(told.logprobs.content) == 3
    for token in told.logprobs.content:
        assert token.logprob == token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob


def test_tokens_that_are_parts_of_characters_have_their_own_bytes(client):
    told = client.chat.completions.create(model='tiny', messages=question('Hi'), logprobs=True).choices[0]
    spelling = b''.join(bytes(token.bytes) for token in told.logprobs.content)
    assert spelling.decode(errors='replace') == told.message.content
    assert b'\xef\xbf\xbd' not in spelling  # U+FFFD itself, which stands for bytes that are no character


def test_adapters_are_models(client, adapted):
    assert {model.id for model in client.models.list()} == {'tiny', 'birds'}
    assert client.models.retrieve('birds').id == 'birds'
    messages = question('What is it?', image(0))
    answers = {
        name: client.chat.completions.create(model=name, messages=messages).choices[0].message.content
        for name in ('tiny', 'birds', 'tiny')
    }
    assert answers == {'tiny': generated(messages), 'birds': generated(messages, model=adapted[1])}
    assert answers['tiny'] != answers['birds']


@pytest.mark.parametrize(
    ('change', 'error', 'told'),
    [
        ({'model': 'gpt-4o'}, 'NotFoundError', 'gpt-4o'),
        ({'temperature': 'hot'}, 'BadRequestError', 'temperature'),
        ({'max_tokens': 0}, 'BadRequestError', 'max_tokens'),
        ({'max_tokens': 10**6}, 'BadRequestError', 'the model takes 2048'),
        ({'messages': []}, 'BadRequestError', 'messages'),
        ({'messages': [{'role': 'assistant', 'content': 'Hello'}]}, 'BadRequestError', 'user'),
        ({'messages': [{'role': 'user', 'content': 'an <image> mark'}]}, 'BadRequestError', '<image>'),
        ({'stop': ['']}, 'BadRequestError', 'stop'),
        ({'n': 100}, 'BadRequestError', 'n must be'),
        ({'top_logprobs': 2}, 'BadRequestError', 'needs logprobs'),
        ({'frequency_penalty': 1.0}, 'BadRequestError', 'frequency_penalty is not supported'),
    ],
)
def test_errors_are_openais(client, change, error, told):
    request = dict(model='tiny', messages=question('What?'), max_tokens=3)
    with pytest.raises(getattr(openai, error)) as caught:
        client.chat.completions.create(**{**request, **change})
    assert told in caught.value.message
    assert caught.value.body.keys() == {'message', 'type', 'param', 'code'}


@pytest.mark.parametrize(
    ('content', 'param'),
    [
        (None, 'messages.0.content'),
        ([{'type': 'text'}], 'messages.0.content.0.text'),
        ([{'type': 'text', 'text': 5}], 'messages.0.content.0.text'),
        ([{'type': 'input_audio'}], 'messages.0.content.0'),
        ([{'type': 'image_url', 'image_url': 'data:'}], 'messages.0.content.0.image_url'),
        ([{'type': 'image_url', 'image_url': {}}], 'messages.0.content.0.image_url.url'),
    ],
)
def test_the_place_of_a_fault_is_the_one_in_the_request(client, content, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model='tiny', messages=[{'role': 'user', 'content': content}])
    assert caught.value.param == param
    assert caught.value.body['message'].startswith(f'{param}: ')


@pytest.mark.parametrize(
    'address',
    [
        '/etc/passwd',
        'file:///etc/passwd',
        'http://127.0.0.1:1/x.png',
        'x' * 300,
        'data:text/html;base64,PGh0bWw+',
        'data:image/svg+xml;base64,PHN2Zy8+',
        'data:image/png,rawdata',
        'data:image/png;base64,!!!!',
    ],
)
def test_what_is_no_picture_is_refused(client, address):
    part = {'type': 'image_url', 'image_url': {'url': address}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model='tiny', messages=question('What?', part))
    assert caught.value.param == 'messages.0.content.0'


def test_a_wrong_key(site):
    with openai.OpenAI(base_url=f'{site[0]}/v1', api_key='wrong', max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model='tiny', messages=question('What?'))


def test_after_all_this_nobody_is_left_in_the_house(site, client):
    _, app = site
    stream = client.chat.completions.create(model='tiny', messages=question('What?'), max_tokens=1500, stream=True)
    next(iter(stream))
    stream.close()  # the client goes away in the middle
    end = time.monotonic() + 10
    while (app.state.admission.requests or app.state.engine.running) and time.monotonic() < end:
        time.sleep(0.02)
    assert (app.state.admission.requests, app.state.admission.bytes, app.state.engine.running) == (0, 0, 0)
