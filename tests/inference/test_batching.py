"""Requests that are answered together get the answers that each would get alone."""

import threading

import pytest
import torch

from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.requests import QueueFull, Request
from mmgpt.inference.sampling import Sampler
from mmgpt.models.adapter_files import save_adapter
from tests.hub import tiny
from tests.models import tiny as small

MARGIN = 1e-3  # of logits, below which rounding may choose


@pytest.fixture
def engine():
    with BatchEngine(*tiny.model_and_processor(), max_batch=5, max_waiting=8) as made:
        yield made


def alone(messages, tokens, model=None):
    """The ids that plain ``generate`` gives, and whether each was chosen with a clear margin."""
    processor = tiny.model_and_processor()[1]
    model = model or tiny.model_and_processor()[0]
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    out = model.generate(
        **inputs, max_new_tokens=tokens, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    best = torch.stack([scores[0].topk(2).values for scores in out.scores])
    clear = (best[:, 0] - best[:, 1] > MARGIN).tolist()
    return out.sequences[0, inputs['input_ids'].shape[1] :].tolist(), clear


def text_of(ids):
    return tiny.model_and_processor()[1].decode(ids, skip_special_tokens=True).strip()


def asked(engine, messages, tokens, adapter=None, **settings):
    request_settings = {k: settings.pop(k) for k in ('n', 'logprobs') if k in settings}
    settings = GenerationSettings(max_new_tokens=tokens, **settings)
    return Request(engine.prompt(messages), settings, adapter, **request_settings)


class Listener:
    """Notes what an engine tells, and waits for the end."""

    def __init__(self, answers=1):
        self.made, self.left, self.done = [], answers, threading.Event()

    def __call__(self, progress):
        self.made.append(progress)
        self.left -= progress.finish is not None
        if not self.left or progress.error:
            self.done.set()

    def ids(self, index=0):
        assert self.done.wait(30)
        return [made.token.id for made in self.made if made.index == index]


def test_rows_that_come_and_go_have_the_ids_of_generate():
    """More requests than rows, of all kinds and different lengths, so that they join and leave all the time."""
    conversations = [*tiny.conversations().values()] * 3
    lengths = [3 + 5 * i % 17 for i in range(len(conversations))]
    listeners = [Listener() for _ in conversations]
    held = threading.Event()
    with BatchEngine(*tiny.model_and_processor(), max_batch=5, max_waiting=len(conversations)) as engine:
        engine.call(lambda model: held.wait(30))  # until all wait: however slowly they come, rows are full
        for listener, messages, tokens in zip(listeners, conversations, lengths, strict=True):
            engine.submit(asked(engine, messages, tokens), listener)
        held.set()
        made = [listener.ids() for listener in listeners]
    for got, listener, messages, tokens in zip(made, listeners, conversations, lengths, strict=True):
        expected, clear = alone(messages, tokens)
        differ = [i for i, (one, other) in enumerate(zip(got, expected)) if one != other]
        assert not differ or not clear[differ[0]]
        assert differ or len(got) == len(expected)
        assert ''.join(made.text for made in listener.made) == text_of(got)
    assert engine.decoded / engine.steps > 2


def test_a_follow_up_goes_on_from_the_turn_before(engine):
    first = [tiny.user('What is it?', tiny.image(0))]
    ((_, answer),) = engine.generate([asked(engine, first, 6)])
    follow_up = [*first, tiny.assistant(answer.text), tiny.user('And this?', tiny.image(1))]
    ((_, second),) = engine.generate([asked(engine, follow_up, 6)])
    assert second.reused >= len(engine.prompt(first).ids) - 1
    assert second.text == text_of(alone(follow_up, 6)[0])
    other = [tiny.user('What is it?', tiny.image(5))]  # the same text, another picture
    ((_, third),) = engine.generate([asked(engine, other, 6)])
    assert third.text == text_of(alone(other, 6)[0])


def test_without_memory_for_prefixes_nothing_is_reused():
    first = [tiny.user('What is it?', tiny.image(0))]
    with BatchEngine(*tiny.model_and_processor(), prefix_bytes=0) as engine:
        for _ in range(2):
            ((_, answer),) = engine.generate([asked(engine, first, 3)])
            assert answer.reused == 0


def test_draws_depend_on_the_seed_alone(engine):
    messages = tiny.conversations()['image']
    request = asked(engine, messages, 8, temperature=1.5, seed=7, n=2)
    found = []
    for others in (0, 3):
        for _ in range(others):
            engine.submit(asked(engine, tiny.conversations()['video'], 8, temperature=1.0), Listener())
        listener = Listener(answers=2)
        engine.submit(request, listener)
        found.append((listener.ids(0), listener.ids(1)))
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]
    listener = Listener()
    engine.submit(asked(engine, messages, 8, temperature=1.5, seed=8), listener)
    assert listener.ids() == found[0][1]  # the second answer draws with the next seed


def test_log_probabilities_are_the_models(engine):
    messages = tiny.conversations()['two images']
    listener = Listener()
    engine.submit(asked(engine, messages, 1, logprobs=3), listener)
    (token,) = listener.ids()
    told = listener.made[0].token
    model, processor = tiny.model_and_processor()
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
    logits[model.config.media_token_id] = -torch.inf
    expected = logits.log_softmax(-1)
    assert told.logprob == pytest.approx(float(expected[token]), abs=1e-4)
    assert [one for one, _ in told.top] == expected.topk(3).indices.tolist()


def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(engine):
    messages = tiny.conversations()['text']
    whole = text_of(alone(messages, 20)[0])
    stop = whole[6:9]
    listener = Listener()
    engine.submit(asked(engine, messages, 20, stop=(stop,)), listener)
    listener.ids()
    assert ''.join(made.text for made in listener.made) == whole[: whole.index(stop)].strip()
    assert listener.made[-1].finish == 'stop'


def test_a_full_queue_and_unknown_things_are_refused(engine):
    request = asked(engine, tiny.conversations()['text'], 4)
    held = threading.Event()
    engine.call(lambda model: held.wait(30))
    for _ in range(engine.max_waiting):
        engine.submit(request, Listener())
    with pytest.raises(QueueFull):
        engine.submit(request, Listener())
    held.set()
    unknown = asked(engine, tiny.conversations()['text'], 4, adapter='x')
    with pytest.raises(ValueError, match='no adapter'):
        engine.submit(unknown, Listener())
    beams = asked(engine, tiny.conversations()['text'], 4, num_beams=2)
    with pytest.raises(ValueError, match='beams'):
        engine.submit(beams, Listener())


def test_a_cancelled_request_says_nothing_more_and_makes_room(engine):
    listener = Listener()
    job = engine.submit(asked(engine, tiny.conversations()['text'], 1500), listener)
    while not listener.made:
        pass
    job.cancel()
    count = len(listener.made)
    ((_, answer),) = engine.generate([asked(engine, tiny.conversations()['text'], 3)])
    assert answer.tokens == 3
    assert len(listener.made) <= count + 1
    engine.call(lambda model: None).result(10)  # the step is over
    assert engine.running == 0


def test_a_request_that_fails_harms_no_other(engine, monkeypatch):
    good = [asked(engine, messages, 4) for messages in tiny.conversations().values()]
    bad = asked(engine, tiny.conversations()['image'], 4)
    bad = Request(bad.prompt._replace(media=(bad.prompt.media[0][:, :, :3],), digests=(b'bad',)), bad.settings)
    made = dict(engine.generate([*good[:3], bad, *good[3:]]))
    assert isinstance(made.pop(3), Exception)
    texts = [made[place].text for place in sorted(made)]
    assert texts == [text_of(alone(messages, 4)[0]) for messages in tiny.conversations().values()]


def test_a_token_that_cannot_be_chosen_harms_no_other(engine, monkeypatch):
    messages = tiny.conversations()['text']
    choose = Sampler.choose

    def fails(self, ids, logits):
        if self.generator is not None and self.generator.initial_seed() == 7:
            raise RuntimeError('on purpose')
        return choose(self, ids, logits)

    monkeypatch.setattr(Sampler, 'choose', fails)
    bad = asked(engine, messages, 4, temperature=1.0, seed=7)
    made = dict(engine.generate([asked(engine, messages, 6), bad, asked(engine, messages, 4, temperature=1.0, seed=8)]))
    assert isinstance(made[1], RuntimeError)
    assert made[0].text == text_of(alone(messages, 6)[0])
    assert made[2].tokens > 0


@pytest.mark.parametrize('seed', [-1, -(2**63), 2**63 - 1])
def test_seeds_that_openais_clients_may_send_are_taken(engine, seed):
    request = asked(engine, tiny.conversations()['text'], 3, temperature=1.0, seed=seed, n=2)
    listener = Listener(2)
    engine.submit(request, listener)
    assert listener.ids(1)
    assert not any(made.error for made in listener.made)


@pytest.mark.parametrize('at', [1, 2, 3])
def test_nothing_is_kept_of_a_row_that_failed(engine, monkeypatch, at):
    messages, count, choose = tiny.conversations()['image'], 0, Sampler.choose

    def fails(self, ids, logits):
        nonlocal count
        count += 1
        if count == at:
            raise RuntimeError('on purpose')
        return choose(self, ids, logits)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, 'choose', fails)
        ((_, made),) = engine.generate([asked(engine, messages, 6, temperature=1.0, seed=3)])
    assert isinstance(made, RuntimeError)
    ((_, made),) = engine.generate([asked(engine, messages, 6)])
    assert made.reused == 0
    assert made.text == text_of(alone(messages, 6)[0])


@pytest.mark.parametrize('temperature', [1e-40, 1e-9])
def test_hardly_any_temperature_is_greedy(engine, temperature):
    messages = tiny.conversations()['text']
    ((_, made),) = engine.generate([asked(engine, messages, 6, temperature=temperature)])
    assert made.text == text_of(alone(messages, 6)[0])


@pytest.mark.parametrize('wrong', [{'temperature': float('nan')}, {'temperature': float('inf')}, {'seed': 2**64}])
def test_settings_that_no_draw_can_have_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GenerationSettings(**wrong)


def test_an_answer_ends_where_the_model_takes_no_more(engine, monkeypatch):
    messages = tiny.conversations()['text']
    request, length = asked(engine, messages, 50), len(engine.prompt(messages).ids)
    monkeypatch.setattr(engine.model.config.text_config, 'max_position_embeddings', length + 3)
    ((_, made),) = engine.generate([request])
    assert made.tokens <= 3
    monkeypatch.setattr(engine.model.config.text_config, 'max_position_embeddings', length)
    ((_, made),) = engine.generate([request])
    assert isinstance(made, ValueError)
    assert f'{length} tokens' in str(made)
    with pytest.raises(ValueError, match=f'{length} tokens'):
        engine.submit(request, Listener())


def test_requests_that_were_given_up_keep_no_place_in_the_queue(engine):
    request = asked(engine, tiny.conversations()['text'], 4)
    held = threading.Event()
    engine.call(lambda model: held.wait(30))
    jobs = [engine.submit(request, Listener()) for _ in range(engine.max_waiting)]
    for job in jobs[1:]:
        job.cancel()
    listener = Listener()
    engine.submit(request, listener)
    held.set()
    assert listener.ids()


def test_whatever_fails_is_told_and_the_engine_goes_on(engine, monkeypatch):
    request = asked(engine, tiny.conversations()['image'], 4)

    def fails(*args, **kwargs):
        raise MemoryError('on purpose')

    for name in ('__init__', 'step', 'take_in', 'drop_cancelled'):
        with monkeypatch.context() as patch:
            patch.setattr(f'mmgpt.inference.running_batch.RunningBatch.{name}', fails)
            made = dict(engine.generate([request] * 3))
            assert all(isinstance(answer, MemoryError) for answer in made.values())
    assert engine.is_alive
    assert dict(engine.generate([request]))[0].text == text_of(alone(tiny.conversations()['image'], 4)[0])


def test_a_cache_that_cannot_be_joined_is_refused_at_once():
    model, processor = small.model('lfm2'), tiny.model_and_processor()[1]
    threads = set(threading.enumerate())
    with pytest.raises(ValueError, match=r'lfm2 cannot be answered together.* tools/chat\.py'):
        BatchEngine(model, processor)
    assert set(threading.enumerate()) <= threads  # those of earlier tests may end meanwhile


@pytest.mark.parametrize('name', ['max_batch', 'max_waiting'])
def test_no_row_and_no_room_to_wait_are_refused(name):
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got 0'):
        BatchEngine(*tiny.model_and_processor(), **{name: 0})


def test_work_in_the_engines_thread(engine):
    assert engine.call(lambda model: threading.current_thread().name).result(10) == 'mmgpt-batch-engine'
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda model: 1 / 0).result(10)


def test_after_closing_whoever_waits_is_told():
    engine = BatchEngine(*tiny.model_and_processor(), max_batch=1)
    listeners = [Listener() for _ in range(3)]
    for listener in listeners:
        engine.submit(asked(engine, tiny.conversations()['text'], 2000), listener)
    engine.close()
    for listener in listeners:
        assert listener.done.wait(30)
        assert listener.made[-1].error is not None
    with pytest.raises(RuntimeError, match='closed'):
        engine.submit(asked(engine, tiny.conversations()['text'], 3), Listener())


def test_work_that_nobody_wants_any_more_hides_no_other_from_the_end():
    engine = BatchEngine(*tiny.model_and_processor())
    begun, release = threading.Event(), threading.Event()
    engine.call(lambda model: begun.set() or release.wait(30))
    assert begun.wait(30)
    given_up, waits = engine.call(id), engine.call(id)
    assert given_up.cancel()
    closing = threading.Thread(target=engine.close)
    closing.start()
    while engine.is_alive:  # until it is told to end
        closing.join(0.01)
    release.set()
    closing.join()
    assert 'closed' in str(waits.exception(0))


@pytest.fixture(scope='module')
def adapters(tmp_path_factory):
    """Folders of two adapters, and the model with each."""
    import copy

    from mmgpt.models.adapters import LoRA, adapter_parameters

    made = {}
    for seed, name in enumerate(('birds', 'maps')):
        model = copy.deepcopy(tiny.model_and_processor()[0])
        torch.manual_seed(seed)
        LoRA(slots=['cross_attention', 'decoder_mlp'], r=4).inject(model)
        with torch.no_grad():
            for _, parameter in adapter_parameters(model):
                parameter.add_(torch.randn_like(parameter))
        folder = tmp_path_factory.mktemp(name)
        save_adapter(model.eval(), folder)
        made[name] = folder, model
    return made


def test_requests_of_different_adapters_run_at_the_same_time(adapters):
    import copy

    model, processor = tiny.model_and_processor()
    folders = {name: folder for name, (folder, _) in adapters.items()}
    messages = tiny.conversations()['context']
    expected = {name: alone(messages, 10, made)[0] for name, (_, made) in adapters.items()}
    expected[None] = alone(messages, 10)[0]
    assert len(set(map(tuple, expected.values()))) == 3
    with BatchEngine(copy.deepcopy(model), processor, folders) as engine:
        listeners = []
        for name in [*expected] * 2:
            listeners.append((name, Listener()))
            engine.submit(asked(engine, messages, 10, adapter=name), listeners[-1][1])
        for name, listener in listeners:
            assert listener.ids() == expected[name], name
