"""A real browser on the page: what a user does, and that nothing complains."""

import io
import json
import os
import re
import shutil
from base64 import b64decode, b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')
playwright = pytest.importorskip('playwright.sync_api', reason='pip install "mmgpt[dev]"')

from mmgpt.evaluation.battles import read_battles  # noqa: E402
from mmgpt.hub.io import load_folder  # noqa: E402
from mmgpt.serving.arena import Rival  # noqa: E402
from mmgpt.serving.settings import ServerSettings  # noqa: E402
from tests.hub import tiny  # noqa: E402
from tests.inference.test_look_inside import dark, looks_for_brightness  # noqa: E402
from tests.serving.browsing import (  # noqa: E402
    ANSWERED,
    LOOK_AND_NAMES,
    STROKES,
    ask,
    choose,
    draw,
    expect_count,
    file,
    same,
    sent,
    with_images,
)
from tests.serving.site import generated, serving  # noqa: E402
from tests.serving.test_arena import other  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
DEMO = Path('work_dirs/otter_demo/hf')
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason='needs a browser: apt-get install chromium'),
]


@pytest.fixture(scope='module')
def log_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('log')


@pytest.fixture(scope='module')
def address(log_dir):
    settings = ServerSettings(max_tokens=8, log_dir=log_dir)
    with serving(settings=settings, rival=Rival('the-other', other)) as (address, _):
        yield address


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as running:
        arguments = ['--no-sandbox'] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
        made = running.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield made
        made.close()


@pytest.fixture
def opened(browser):
    """Opens a page; at the end no script may have complained."""
    contexts, complaints = [], []

    def open_(url, **options):
        context = browser.new_context(**{'viewport': {'width': 1280, 'height': 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on('console', lambda told: told.type in ('error', 'warning') and complaints.append(told.text))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.on('requestfailed', lambda request: complaints.append(f'{request.url}: {request.failure}'))
        page.goto(url)
        return page

    open_.complaints = complaints
    yield open_
    for context in contexts:
        context.close()
    assert not complaints


def test_two_pictures_a_follow_up_and_a_new_answer(opened, address):
    page = opened(address)
    page.wait_for_selector('#starters button')
    choose(page, 0, 1)
    first = ask(page, 'What is it?')
    history = [with_images('What is it?', 0, 1)]
    assert same(first, generated(history))
    second = ask(page, 'Why?', answers=2)
    history += [tiny.assistant(first), tiny.user('Why?')]
    assert same(second, generated(history))

    page.click('.turn.assistant:last-child [aria-label="Answer again"]')
    expect_count(page, ANSWERED, 2)
    assert page.inner_text('.turn.assistant:last-child .bubble') == second

    page.click('.turn.user >> nth=1 >> [aria-label="Edit this question"]')
    assert page.input_value('#question') == 'Why?'
    third = ask(page, 'What is it called?', answers=2)
    assert same(third, generated([*history[:2], tiny.user('What is it called?')]))

    page.click('#tab-settings')
    page.select_option('[data-setting=history]', '0')
    alone = ask(page, 'What is it called?', answers=3)
    assert same(alone, generated([tiny.user('What is it called?')]))


def test_an_answer_streams_and_can_be_stopped(opened, address):
    page = opened(address)
    page.wait_for_selector('#starters button')
    page.click('#tab-settings')
    page.fill('[data-setting=max_tokens]', '1500')
    page.evaluate("""() => {
      window.lengths = [];
      new MutationObserver(() => {
        const bubble = document.querySelector('.turn.assistant .bubble');
        if (bubble) window.lengths.push(bubble.textContent.length);
      }).observe(document.getElementById('turns'), { childList: true, subtree: true, characterData: true });
    }""")
    page.fill('#question', 'What is it called?')
    page.keyboard.press('Enter')
    playwright.expect(page.locator('.turn.assistant .bubble')).to_have_text(re.compile('.{20}', re.DOTALL))
    page.keyboard.press('Escape')
    page.wait_for_selector(ANSWERED)
    assert 'stopped' in page.inner_text('.turn.assistant .meta')
    lengths = page.evaluate('window.lengths')
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 3
    opened.complaints[:] = [told for told in opened.complaints if 'ERR_ABORTED' not in told]  # what was stopped


def test_look_inside_shows_each_word(opened, address):
    page = opened(address)
    page.wait_for_selector('#starters button')
    choose(page, 0)
    answer = ask(page, 'What is it?')
    page.click('[aria-label="Look inside"]')
    page.wait_for_selector('#pane-look canvas')
    words = page.locator('[role=radio]')
    shown = words.all_inner_texts()
    assert shown[0] == 'all words'
    assert ' '.join(shown[1:]).split() == answer.split() or ''.join(shown[1:]) == ''.join(answer.split())
    label = page.get_attribute('#pane-look canvas', 'aria-label')
    assert re.match(r'Picture 1: 100 % of the attention, most at row [12], column [12]', label)
    words.nth(0).focus()
    for number in range(1, len(shown)):
        page.keyboard.press('ArrowRight')
        assert [word.get_attribute('aria-checked') for word in words.all()].index('true') == number
    page.keyboard.press('ArrowRight')
    assert words.nth(0).get_attribute('aria-checked') == 'true'
    assert page.locator('.gates .track').count() == 4
    assert '0.76' in page.inner_text('.gates')  # tanh 1

    page.click('[aria-label="Show the exact prompt"]')
    page.wait_for_selector('.prompt')
    processor = tiny.model_and_processor()[1]
    expected = processor.apply_chat_template([with_images('What is it?', 0)], add_generation_prompt=True)
    assert page.text_content('.prompt') == expected
    assert '<image>' in page.locator('.prompt mark').all_inner_texts()


def test_the_heat_lies_where_the_model_looked(opened):
    def load():
        return looks_for_brightness(), tiny.model_and_processor()[1]

    with serving(load) as (address, _):
        page = opened(address)
        page.wait_for_selector('#starters button')
        page.set_input_files('#files', [file(dark()), file(dark((1, 0)))])
        expect_count(page, '#tray li', 2)
        ask(page, 'Where?')
        page.click('[aria-label="Look inside"]')
        expect_count(page, '#pane-look canvas', 2)
        labels = [canvas.get_attribute('aria-label') for canvas in page.locator('#pane-look canvas').all()]
        assert re.match(r'Picture 1: (not looked at|[0-4](\.\d)? % )', labels[0])
        assert re.match(r'Picture 2: (9\d|100) % of the attention, most at row 2, column 1', labels[1])
        page.wait_for_timeout(200)
        hot = page.evaluate("""() => [...document.querySelectorAll('#pane-look canvas')].map((canvas) => {
          const { data } = canvas.getContext('2d').getImageData(0, 0, 288, 288);
          const places = [[72, 72], [216, 72], [72, 216], [216, 216]];
          return places.map(([x, y]) => [...data.slice(4 * (288 * y + x))].slice(0, 3));
        })""")
        red, green, *_ = hot[1][2]
        assert red > 200 > 150 > green
        assert max(max(pixel) for place, pixel in enumerate(hot[0] + hot[1]) if place != 6) < 60
        page.close()


def test_a_video_is_shown_frame_by_frame(opened, address, tmp_path):
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    path = tmp_path / 'clip.mp4'
    with av.open(str(path), 'w') as clip:
        stream = clip.add_stream('mpeg4', rate=4)
        stream.width = stream.height = 32
        for value in range(6):
            picture = Image.new('RGB', (32, 32), (40 * value,) * 3)
            clip.mux(stream.encode(av.VideoFrame.from_image(picture)))
        clip.mux(stream.encode())
    page = opened(address)
    page.wait_for_selector('#starters button')
    page.set_input_files('#files', str(path))
    page.wait_for_selector('#tray video')
    ask(page, 'What is it?')
    page.click('[aria-label="Look inside"]')
    page.wait_for_selector('.strip canvas')
    labels = page.locator('.strip figcaption').all_inner_texts()
    assert len(labels) == 4  # as many as the model can see
    assert sum(float(label.split()[-2]) for label in labels) == pytest.approx(100, abs=2)


def test_drawn_digits_become_pictures_as_the_data_set_has_them(opened, address):
    page = opened(address)
    page.click('text=Draw a digit')
    draw(page, 1)
    body = sent(page, lambda: page.click('.sketch [type=submit]'))
    content = body['messages'][-1]['content']
    assert content[1]['text'] == 'What digit is this?'
    picture = Image.open(io.BytesIO(b64decode(content[0]['image_url']['url'].split(',')[1]))).convert('L')
    values = np.asarray(picture)
    assert values.shape == (8, 8)
    assert set(values.flatten()) <= {round(count * 255 / 16) for count in range(17)}
    assert (values[:, 3:5].sum(1) > 100).all()  # a 1 fills the height, in the middle
    assert not values[:, [0, 1, 6, 7]].any()
    page.wait_for_selector(ANSWERED)


def test_pictures_are_dropped_pasted_and_removed(opened, address):
    page = opened(address)
    page.wait_for_selector('#starters button')
    data = b64encode(file(tiny.picture(0))['buffer']).decode()
    give = """([data, kind]) => {
      const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
      const files = new DataTransfer();
      files.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));
      const event = kind === 'paste' ? new ClipboardEvent('paste', { clipboardData: files, bubbles: true })
        : new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    }"""
    for number, kind in enumerate(('drop', 'paste'), 1):
        page.evaluate(give, [data, kind])
        expect_count(page, '#tray li', number)
    page.click('[aria-label="Remove picture 1"]')
    assert page.locator('#tray li').count() == 1
    page.set_input_files('#files', [{'name': 'notes.txt', 'mimeType': 'text/plain', 'buffer': b'hello'}])
    page.wait_for_selector('#problem:not([hidden])')
    assert 'neither a picture nor a video' in page.inner_text('#problem')
    assert page.locator('#tray li').count() == 1
    body = sent(page, lambda: ask(page, 'What is it?'))
    assert [part['type'] for part in body['messages'][-1]['content']] == ['image_url', 'text']


def test_examples_come_first(opened, address):
    page = opened(address)
    page.click('text=Teach by examples')
    page.set_input_files('.example input[type=file]', [file(tiny.picture(3))])
    page.wait_for_selector('.example li')
    page.fill('.example [placeholder=Question]', 'What is this?')
    page.fill('.example [placeholder=Answer]', 'A dog.')
    assert page.inner_text('#tab-examples') == 'Examples (1)'
    choose(page, 4)
    answer = ask(page, 'What is it called?')
    shown = [with_images('What is this?', 3), tiny.assistant('A dog.'), with_images('What is it called?', 4)]
    assert same(answer, generated(shown))


def test_votes_and_flags_are_kept(opened, address, log_dir):
    page = opened(address)
    page.wait_for_selector('#starters button')
    answer = ask(page, 'What is it called?')
    page.click('[aria-label="Bad answer"]')
    page.wait_for_selector('[aria-label="Bad answer"][aria-pressed=true]')
    page.click('[aria-label="Flag this answer"]')
    page.fill('.flagging input', 'nonsense')
    page.keyboard.press('Enter')
    page.wait_for_selector('[aria-label="Flag this answer"][aria-pressed=true]')
    kept = [json.loads(line) for line in (log_dir / 'feedback.jsonl').read_text().splitlines()]
    assert [(one['verdict'], one['comment']) for one in kept] == [('down', ''), ('flag', 'nonsense')]
    assert same(kept[0]['messages'][-1]['content'], answer)


def test_two_models_side_by_side(opened, address, log_dir):
    page = opened(address)
    page.click('#to-arena')
    page.wait_for_selector('#attach svg')
    choose(page, 0)
    page.fill('#question', 'What is it?')
    page.keyboard.press('Enter')
    page.wait_for_selector('#ballot:not([hidden])')
    assert 'tiny' not in page.inner_text('main')
    texts = page.locator('.side .bubble').all_inner_texts()
    page.click('[data-winner=b]')
    page.wait_for_selector('#revealed:not([hidden])')
    names = [title.split('·')[1].strip() for title in page.locator('.side h3').all_inner_texts()]
    messages = [with_images('What is it?', 0)]
    expected = {'tiny': generated(messages), 'the-other': generated(messages, model=other()[0])}
    assert all(same(text, expected[name]) for name, text in zip(names, texts, strict=True))
    votes = read_battles(log_dir / 'battles.jsonl')
    assert votes.models[votes.second[0]] == names[1]
    assert votes.scores.tolist() == [0.0]
    page.click('text=Next battle')
    assert page.locator('.round').count() == 0


def test_a_server_that_refuses_is_told_and_the_question_kept(opened, address):
    page = opened(address)
    page.wait_for_selector('#starters button')
    page.click('#tab-settings')
    page.fill('[data-setting=max_tokens]', '100000')
    page.fill('#question', 'What is it?')
    page.keyboard.press('Enter')
    page.wait_for_selector('#problem:not([hidden])')
    assert '100000' in page.inner_text('#problem')
    assert page.input_value('#question') == 'What is it?'
    assert page.locator('.turn').count() == 0
    opened.complaints[:] = [told for told in opened.complaints if '400' not in told]  # the refusal itself


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [360, 768, 1280])
def test_names_contrast_and_width(opened, address, scheme, width):
    options = dict(viewport={'width': width, 'height': 780}, color_scheme=scheme, has_touch=width < 500)
    page = opened(address, **options)
    page.wait_for_selector('#starters button')

    def check():
        found = page.evaluate(LOOK_AND_NAMES)
        assert not found['nameless']
        assert found['wide'] <= 0
        assert not found['faint']
        return found['background']

    check()
    choose(page, 0, 1)
    ask(page, 'What is it? ' + 20 * 'averylongwordwithoutanybreak')
    check()
    page.click('[aria-label="Look inside"]')
    page.wait_for_selector('#pane-look canvas')
    check()
    page.click('#tab-settings')
    assert (check() > 0.5) == (scheme == 'light')
    if width < 1000:
        page.click('#close-panel')
        assert not page.is_visible('#panel')
    page.click('#theme')
    page.reload()
    page.wait_for_selector('#starters button')
    assert (check() > 0.5) == (scheme == 'dark')  # the choice is kept


@pytest.mark.slow
@pytest.mark.skipif(not DEMO.exists(), reason='needs the demo: python tools/train.py configs/otter_demo.py')
def test_the_demo_reads_drawn_digits(opened):
    with serving(lambda: load_folder(DEMO), 'demo') as (address, _):
        page = opened(address)
        page.wait_for_selector('#starters button')
        read = []
        for digit in STROKES:
            page.click('#new-chat')
            page.click('#draw')
            draw(page, digit)
            page.click('.sketch [type=submit]')
            page.wait_for_selector(ANSWERED)
            read.append(page.inner_text('.turn.assistant .bubble').strip() == str(digit))
        assert sum(read) >= 7  # of 9
