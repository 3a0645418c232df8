"""The pages, in a real browser where there is one: the cold start, and the report."""

import json
import multiprocessing
import shutil
import sqlite3
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from mmgpt.syphus import cold_start as saving
from mmgpt.syphus.cold_start import current_prompts, save_version, versions
from mmgpt.syphus.cold_start_page import ColdStart, serve
from mmgpt.syphus.pipeline import Run
from mmgpt.syphus.prompt import Prompt, read_prompt
from mmgpt.syphus.settings import read_settings
from tests.inference.rule_server import rule_server
from tests.syphus.project import write_project
from tools import syphus

pytest.importorskip('openai', reason='pip install openai')
BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
needs_browser = pytest.mark.skipif(BROWSER is None, reason='apt-get install chromium')


@pytest.fixture(scope='module')
def address():
    with rule_server(rule='tests.syphus.rules:syphus') as found:
        yield found


@pytest.fixture
def page(tmp_path, address, monkeypatch):
    """The cold start's address and object, served as the tool does."""
    monkeypatch.setenv('OPENAI_BASE_URL', address)
    cold_start = ColdStart(read_settings(write_project(tmp_path, 12, more='cold_start = 3\n')), tmp_path / 'w')
    found = []
    ready = threading.Event()

    def tell(where):
        found.append(where)
        ready.set()

    threading.Thread(target=serve, args=(cold_start, 0, tell), daemon=True).start()
    ready.wait(10)
    return found[0], cold_start


def post(address, path, body, token='', host=None):
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {'X-Token': token})
    if host:
        request.add_header('Host', host)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def dom(url):
    command = [
        BROWSER,
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--virtual-time-budget=20000',
        '--dump-dom',
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_drafts_are_accepted_edited_and_rejected_and_become_examples(page, tmp_path, address, monkeypatch):
    where, cold_start = page
    work_dir = tmp_path / 'w'
    system = cold_start.settings.task.prompt('').system
    _, made = post(where, 'drafts', {'part': '', 'from': 0, 'count': 3, 'system': system}, cold_start.token)
    assert [draft['id'] for draft in made['drafts']] == ['v0', 'v1', 'v2']
    accepted = made['drafts'][:2]
    accepted[0]['pairs'][0]['answer'] = 'Edited by a person.'
    body = {'part': '', 'system': system + ' Be kind.', 'examples': accepted}
    assert post(where, 'save', body, cold_start.token)[1]['name'] == 'prompt_v001.json'
    body['examples'] = accepted[:1]
    status, saved = post(where, 'save', body, cold_start.token)
    assert (status, [version['examples'] for version in saved['versions']]) == (200, [2, 1])
    assert len(versions(work_dir, '')) == 2
    prompts, sources = current_prompts(cold_start.settings.task, work_dir)
    assert prompts[''].examples[0].pairs[0].answer == 'Edited by a person.'
    assert prompts[''].system.endswith('Be kind.')
    assert sources[''] == 'cold start, prompt_v002.json'
    assert syphus.main([str(tmp_path / 'config.py'), '--work-dir', str(work_dir)]) == 0
    assert 'prompt_v002.json' in (work_dir / 'README.md').read_text()


def test_the_number_of_pairs_stays_open_in_what_is_saved(page, tmp_path):
    where, cold_start = page
    system = cold_start.settings.task.prompt('').system
    begun = cold_start.page().split('application/json">')[1].split('</script>')[0]
    assert json.loads(begun)['systems'] == {'': system}
    ask = {'part': '', 'from': 0, 'count': 1, 'system': 'Ask {pairs} questions.'}
    drafts = post(where, 'drafts', ask, cold_start.token)[1]['drafts']
    post(where, 'save', {'part': '', 'system': 'Ask {pairs} questions.', 'examples': drafts}, cold_start.token)
    cold_start.settings.task.number = 5
    run = Run(cold_start.settings, tmp_path / 'w')
    run.close()
    assert run.prompts[''].system == 'Ask 5 questions.'
    with closing(sqlite3.connect(tmp_path / 'w/cache.sqlite')) as cache:
        assert 'Ask 3 questions.' in str(cache.execute('SELECT messages FROM beginnings').fetchall())


def test_what_cannot_be_saved_is_told(page):
    where, cold_start = page
    empty = {'id': 'v0', 'query': 'q', 'pairs': [{'instruction': 'Q', 'answer': ' '}]}
    for examples, part in (([], 'Accept at least one'), ([empty], 'v0: an accepted example needs')):
        body = {'part': '', 'system': 's', 'examples': examples}
        status, reply = post(where, 'save', body, cold_start.token)
        assert status == 400
        assert part in reply['error']


def test_of_two_pages_at_once_one_saves_and_the_other_leaves_what_it_saved(tmp_path, monkeypatch):
    replace, said = Path.replace, []

    def save_without_a_look(pipe):
        saving.versions = lambda *_: []  # it looked before the number was taken
        try:
            save_version(tmp_path, '', Prompt('second', ()), [], 'rule')
        except FileExistsError:
            pipe.send('taken')
        pipe.close()

    def replace_later(path, target):
        monkeypatch.undo()
        here, there = multiprocessing.Pipe(duplex=False)
        other = multiprocessing.get_context('fork').Process(target=save_without_a_look, args=(there,))
        other.start()
        there.close()
        said.append(here.recv())
        other.join()
        return replace(path, target)

    monkeypatch.setattr(Path, 'replace', replace_later)
    path = save_version(tmp_path, '', Prompt('first', ()), [], 'rule')
    assert said == ['taken']
    assert read_prompt(path).system == 'first'
    assert list(path.parent.iterdir()) == [path]


def test_other_pages_cannot_use_it(page):
    where, cold_start = page
    assert post(where, 'versions', {'part': ''})[0] == 403
    assert post(where, 'versions', {'part': ''}, cold_start.token, host='evil.example:80')[0] == 403
    assert post(where, 'versions', {'part': ''}, cold_start.token)[0] == 200


@pytest.mark.browser
@needs_browser
def test_the_cold_start_in_a_browser(page):
    where, _ = page
    shown = dom(where)
    assert shown.count('class="draft"') == 3
    assert 'Save accepted as examples' in shown
    assert '0 saved versions' in shown
    assert 'marked' in shown


@pytest.mark.browser
@needs_browser
def test_the_report_in_a_browser(tmp_path, address, monkeypatch):
    pytest.importorskip('lingua', reason='pip install lingua-language-detector')
    monkeypatch.setenv('OPENAI_BASE_URL', address)
    assert syphus.main([str(write_project(tmp_path, 30, ('de',))), '--work-dir', str(tmp_path / 'w')]) == 0
    shown = dom((tmp_path / 'w/report.html').as_uri())
    summary = json.loads((tmp_path / 'w/summary.json').read_text())
    assert f'Ungrounded: {summary["dropped"]["Ungrounded"]} dropped' in shown
    assert shown.count('src="data:image/png') == 3
    assert 'Napoleon' in shown.split('<script')[0]
