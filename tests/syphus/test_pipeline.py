"""Whole runs against a server that answers by rule over HTTP."""

import json
import sqlite3
import time
from pathlib import Path

import pytest

from mmgpt.data.sources.mimicit import MimicIt
from mmgpt.syphus.pipeline import STAGES, Run
from mmgpt.syphus.settings import read_settings
from tests.inference.rule_server import log_of, rule_server
from tests.syphus.project import accounted, product, tool, write_project
from tools import syphus

pytest.importorskip('openai', reason='pip install openai')
pytest.importorskip('lingua', reason='pip install lingua-language-detector')
FAULTS = {'500': 3, '429': 3, 'malformed': 2, 'cut': 2}


@pytest.fixture(scope='module')
def address():
    with rule_server(rule='tests.syphus.rules:syphus', faults=FAULTS) as found:
        yield found


@pytest.fixture(scope='module')
def done(tmp_path_factory, address):
    """A run of 40 items in two languages, done in one go."""
    folder = tmp_path_factory.mktemp('project')
    config = write_project(folder, 40, ('de', 'zh'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OPENAI_BASE_URL', address)
        assert syphus.main([str(config), '--work-dir', str(folder / 'w')]) == 0
    return folder


def run(config: Path, work_dir: Path, *options: str) -> int:
    return syphus.main([str(config), '--work-dir', str(work_dir), *options])


@pytest.fixture
def here(address, monkeypatch):
    monkeypatch.setenv('OPENAI_BASE_URL', address)
    return address


def test_every_item_is_accounted_for_once(done):
    accounted(done / 'w', 40)
    summary = json.loads((done / 'w/summary.json').read_text())
    assert summary['rejected'] > 0
    assert summary['asked_again'] > 0
    assert {name for name, count in summary['dropped'].items() if count} >= {'Refusals', 'Ungrounded', 'Duplicates'}
    assert summary['translations'] == {'de': summary['kept'], 'zh': summary['kept']}
    assert summary['cost'] == pytest.approx(
        (summary['prompt_tokens'] + 2 * summary['completion_tokens']) / 1e6, abs=1e-5
    )


def test_training_reads_what_was_written(done):
    for name in ('DC', 'DC_de', 'DC_zh'):
        source = MimicIt(instructions=done / f'w/{name}_instructions.json', train=done / f'w/{name}_train.json')
        data = json.loads((done / f'w/{name}_instructions.json').read_text())['data']
        assert len(source) == len(data) > 100
        for id, record in data.items():
            assert id.startswith(f'{name}_INS_')
            assert id not in record['rel_ins_ids']
            assert all(data[other]['image_ids'] == record['image_ids'] for other in record['rel_ins_ids'])


def test_a_card_a_report_statistics_and_plots(done):
    card = (done / 'w/README.md').read_text()
    figures = json.loads((done / 'w/statistics.json').read_text())
    state = sqlite3.connect(done / 'w/state.sqlite')
    identity = json.loads(state.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()[0])
    for part in (
        '`rule`',
        identity['prompts'][''],
        'perception',
        'reasoning',
        'planning',
        '| de |',
        'Ungrounded',
        'cost',
    ):
        assert part in card
    assert figures['kept'] == sum(figures['capabilities'].values()) == figures['languages']['en']['kept']
    assert figures['verbs']
    assert len(list((done / 'w/plots').glob('*.png'))) == 3
    report = (done / 'w/report.html').read_text()
    assert 'Napoleon' in report
    assert '</script><' not in report.split('type="application/json">')[1].split('</script>')[0]


@pytest.mark.parametrize('stage', STAGES[1:])
def test_each_stage_runs_again_alone_and_asks_nothing(done, here, stage, tmp_path):
    before, asked = product(done / 'w'), log_of(here)
    assert run(done / 'config.py', done / 'w', '--stage', stage) == 0
    assert run(done / 'config.py', done / 'w', '--resume') == 0
    assert product(done / 'w') == before
    assert log_of(here) == asked


@pytest.mark.slow
def test_stage_by_stage_is_the_same_as_in_one_go(done, here, tmp_path):
    for stage in STAGES[1:]:
        assert run(done / 'config.py', tmp_path / 'w', '--stage', stage) == 0
    assert run(done / 'config.py', tmp_path / 'w', '--resume') == 0  # asks again what could not be read
    assert product(tmp_path / 'w') == product(done / 'w')


def test_a_dry_run_asks_nothing_and_leaves_nothing(done, here, tmp_path, capsys):
    asked = log_of(here)
    assert run(done / 'config.py', tmp_path / 'w', '--dry-run') == 0
    told = capsys.readouterr().out
    assert '40 items' in told
    assert 'generate: 40 requests' in told
    assert 'translate: 120 requests' in told
    assert log_of(here) == asked
    assert not (tmp_path / 'w').exists()


@pytest.mark.slow
def test_a_limit_can_be_raised(done, here, tmp_path):
    assert run(done / 'config.py', tmp_path / 'w', '--limit', '20') == 0
    assert json.loads((tmp_path / 'w/summary.json').read_text())['items'] == 20
    assert run(done / 'config.py', tmp_path / 'w', '--resume') == 0
    assert product(tmp_path / 'w') == product(done / 'w')


def test_a_dry_run_leaves_a_begun_run_as_it_is(here, tmp_path, capsys):
    config, work_dir = write_project(tmp_path, 10), tmp_path / 'w'
    assert run(config, work_dir, '--limit', '3') == 0
    before = product(work_dir)
    asked = log_of(here)
    assert run(config, work_dir, '--dry-run') == 0
    assert 'generate: 7 requests' in capsys.readouterr().out
    assert run(config, work_dir, '--resume', '--limit', '3') == 0
    assert log_of(here) == asked
    assert product(work_dir) == before


def test_items_that_came_with_a_damaged_line_are_asked_about_once_it_is_mended(here, tmp_path):
    config, work_dir = write_project(tmp_path, 5), tmp_path / 'w'
    lines = (tmp_path / 'items.jsonl').read_text().splitlines(keepends=True)
    (tmp_path / 'items.jsonl').write_text(''.join(lines[:3]))
    assert run(config, work_dir) == 0
    (tmp_path / 'items.jsonl').write_text(''.join(lines) + '{"id": "v5", broken')
    assert run(config, work_dir, '--resume') == 2
    (tmp_path / 'items.jsonl').write_text(''.join(lines))
    assert run(config, work_dir, '--resume') == 0
    accounted(work_dir, 5)


def test_replies_that_were_lost_are_asked_for_again(here, tmp_path):
    config, work_dir = write_project(tmp_path, 5), tmp_path / 'w'
    assert run(config, work_dir) == 0
    before = product(work_dir)
    (work_dir / 'cache.sqlite').unlink()
    run(config, work_dir, '--stage', 'parse')
    assert run(config, work_dir, '--resume') == 0
    assert product(work_dir) == before


def test_what_is_asked_again_later_is_filtered_and_built(here, tmp_path):
    config, work_dir = write_project(tmp_path, 40, more='max_asks = 1\n'), tmp_path / 'w'
    assert run(config, work_dir) == 0
    rejected = json.loads((work_dir / 'summary.json').read_text())['rejected']
    write_project(tmp_path, 40)
    assert run(config, work_dir, '--resume') == 0
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert summary['rejected'] < rejected
    accounted(work_dir, 40)


def test_what_other_filters_dropped_before_is_counted(here, tmp_path):
    config, work_dir = (
        write_project(tmp_path, 10, more="filters = [dict(type='Length', answer=(50, 60))]\n"),
        tmp_path / 'w',
    )
    assert run(config, work_dir) == 0
    write_project(tmp_path, 10, more="filters = ['Empty']\n")
    assert run(config, work_dir, '--resume') == 0
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert summary['dropped'] == {'Empty': 0, 'Length': summary['pairs']}
    assert run(config, work_dir, '--stage', 'filter') == 0
    assert json.loads((work_dir / 'summary.json').read_text())['kept'] == summary['pairs']


def test_translations_go_with_the_pairs_that_another_filter_drops(here, tmp_path):
    config, work_dir = write_project(tmp_path, 5, ('de',)), tmp_path / 'w'
    assert run(config, work_dir) == 0
    write_project(tmp_path, 5, ('de',), more="filters = [dict(type='Length', instruction=(1, 7))]\n")
    assert run(config, work_dir, '--stage', 'filter') == 0
    before = json.loads((work_dir / 'summary.json').read_text())
    assert 0 < before['translations']['de'] <= before['kept'] < before['pairs']
    assert run(config, work_dir, '--resume') == 0
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert summary['translations'] == {'de': summary['kept']}
    assert summary['requests'] + summary['cached'] < before['kept']
    assert len(json.loads((work_dir / 'DC_de_instructions.json').read_text())['data']) == summary['kept']


def test_translations_that_failed_are_asked_for_again(here, tmp_path):
    config, work_dir = write_project(tmp_path, 5, ('de',)), tmp_path / 'w'
    assert run(config, work_dir) == 0
    before = product(work_dir)
    state = sqlite3.connect(work_dir / 'state.sqlite')
    state.execute(
        "UPDATE translations SET verdict = 'failed', answer = '' WHERE pair = (SELECT min(pair) FROM translations)"
    )
    state.commit()
    state.close()
    assert run(config, work_dir, '--resume') == 0
    assert product(work_dir) == before


def test_a_language_that_is_added_later_is_translated_into(here, tmp_path, capsys):
    config, work_dir = write_project(tmp_path, 5, ('de',)), tmp_path / 'w'
    assert run(config, work_dir) == 0
    kept = json.loads((work_dir / 'summary.json').read_text())['kept']
    german = product(work_dir)['DC_de_instructions.json']
    write_project(tmp_path, 5, ('de', 'zh'))
    assert run(config, work_dir, '--dry-run') == 0
    assert f'translate: {kept} requests' in capsys.readouterr().out
    assert run(config, work_dir, '--resume') == 0
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert summary['translations'] == {'de': kept, 'zh': kept}
    assert product(work_dir)['DC_de_instructions.json'] == german
    assert len(json.loads((work_dir / 'DC_zh_instructions.json').read_text())['data']) == kept
    write_project(tmp_path, 6, ('de', 'zh'))  # what is translated is not asked for again, now for both at once
    assert run(config, work_dir, '--resume') == 0
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert summary['translations'] == dict.fromkeys(('de', 'zh'), summary['kept'])
    assert summary['requests'] < kept < summary['kept']


def test_an_estimate_after_a_first_look_counts_the_pairs_to_come(here, tmp_path, capsys):
    config, work_dir = write_project(tmp_path, 10, ('de',)), tmp_path / 'w'
    assert run(config, work_dir, '--limit', '3') == 0
    capsys.readouterr()
    assert run(config, work_dir, '--dry-run') == 0
    assert 'translate: 21 requests' in capsys.readouterr().out


def test_an_estimate_counts_no_translation_into_no_language(here, tmp_path, capsys):
    config = write_project(tmp_path, 3, more='translation = dict(languages=[])')
    assert run(config, tmp_path / 'w', '--dry-run') == 0
    assert 'translate' not in capsys.readouterr().out


def test_a_run_is_not_begun_over_another(done, here, capsys):
    assert run(done / 'config.py', done / 'w') == 2
    assert '--resume' in capsys.readouterr().err


def test_another_model_is_another_run(done, here, capsys):
    config = done / 'other.py'
    config.write_text((done / 'config.py').read_text().replace("model='rule'", "model='other'"))
    assert run(config, done / 'w', '--resume') == 2
    assert 'another model' in capsys.readouterr().err


def test_another_text_of_the_queries_is_another_run(here, tmp_path, capsys):
    config, work_dir = write_project(tmp_path, 6), tmp_path / 'w'
    (tmp_path / 'prompt.txt').write_text('Ask about the video.')
    own = f"type='Annotations', name='DC', prompt='{tmp_path / 'prompt.txt'}', template='{{sentences}}'"
    config.write_text(config.read_text().replace("type='DenseCaptions'", own))
    assert run(config, work_dir, '--limit', '3') == 0
    text = config.read_text()
    config.write_text(text.replace('{sentences}', 'a video: {sentences}'))
    assert run(config, work_dir, '--resume') == 2
    assert 'another text of the queries' in capsys.readouterr().err
    config.write_text(text)
    assert run(config, work_dir, '--resume') == 0
    accounted(work_dir, 6)
    config.write_text(text.replace('{sentences}', 'a video: {sentences}'))
    assert run(config, work_dir, '--stage', 'generate') == 0
    assert run(config, work_dir, '--resume') == 0


def test_queries_are_hashed_once_where_no_item_was_added(here, tmp_path, monkeypatch):
    config, work_dir = write_project(tmp_path, 3), tmp_path / 'w'
    assert run(config, work_dir) == 0
    hashed = []
    monkeypatch.setattr(
        Run, '_queries', lambda self, count, hash=Run._queries: hashed.append(count) or hash(self, count)
    )
    assert run(config, work_dir, '--resume') == 0
    assert [count for count in hashed if count] == [3]


def test_changed_items_are_told(done, here, tmp_path, capsys):
    config = write_project(tmp_path, 10)
    assert run(config, tmp_path / 'w', '--limit', '5') == 0
    lines = (tmp_path / 'items.jsonl').read_text().splitlines()
    (tmp_path / 'items.jsonl').write_text('\n'.join([lines[1], lines[0], *lines[2:]]))
    assert run(config, tmp_path / 'w', '--resume') == 2
    assert "item 1, 'v1', is not the one" in capsys.readouterr().err
    (tmp_path / 'items.jsonl').write_text('\n'.join(lines[:4]))
    assert run(config, tmp_path / 'w', '--resume', '--limit', '4') == 0
    assert run(config, tmp_path / 'w', '--resume') == 2
    assert 'has 4 items, the run began with 5' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('line', 'part'),
    [
        ('{"id": "v0", "annotation": "A dog."}', "the id 'v0' comes twice"),
        ('{"id": "x", "image_ids": "y", "annotation": "A dog."}', 'items.jsonl:4: \'x\': "image_ids" must be'),
        ('{"id": "x"', 'items.jsonl:4: expected a line of JSON'),
        ('{"id": "x", "annotation": ""}', '"annotation" is missing or empty'),
        ('{"id": "x", "annotation": {"timestamps": [[0, 1]], "sentences": ["a", "b"]}}', 'x: DenseCaptions expected'),
        ('[1]', 'expected {"id", "image_ids", "annotation"}'),
    ],
)
def test_a_wrong_line_stops_before_anything_is_asked(tmp_path, here, capsys, line, part):
    config = write_project(tmp_path, 3)
    with (tmp_path / 'items.jsonl').open('a') as file:
        file.write(line + '\n')
    asked = log_of(here)
    assert run(config, tmp_path / 'w') == 2
    assert part in capsys.readouterr().err
    assert log_of(here) == asked


def test_all_faults_of_a_config_at_once(tmp_path, capsys):
    config = write_project(tmp_path, 3)
    text = config.read_text().replace("type='DenseCaptions'", "type='DenseCaption'").replace('timeout=5', 'time=5')
    config.write_text(text + "filters = [dict(type='Length', answer=(5, 1))]\nmax_ask = 3\nform = 'xml'\n")
    assert run(config, tmp_path / 'w') == 2
    told = capsys.readouterr().err
    assert "max_ask: there is no such key; did you mean 'max_asks'?" in told
    config.write_text(config.read_text().replace('max_ask = 3', ''))
    assert run(config, tmp_path / 'w') == 2
    told = capsys.readouterr().err
    for part in (
        "did you mean 'DenseCaptions'",
        'filters[0]: answer must be',
        "'time'",
        "form: must be 'json' or 'text'",
    ):
        assert part in told


def test_a_budget_stops_cleanly_and_a_larger_one_goes_on(done, here, tmp_path, capsys):
    config = tmp_path / 'config.py'
    text = (done / 'config.py').read_text()
    config.write_text(text.replace("model='rule',", "model='rule', budget=dict(max_tokens=20_000),"))
    assert run(config, tmp_path / 'w') == 1
    assert 'Raise the budget' in capsys.readouterr().err
    assert run(done / 'config.py', tmp_path / 'w', '--resume') == 0
    assert product(tmp_path / 'w') == product(done / 'w')


def test_what_failed_is_asked_again_by_the_next_run(tmp_path, here, monkeypatch):
    config = write_project(tmp_path, 12)
    with rule_server(status=400, message='too long') as refusing:
        monkeypatch.setenv('OPENAI_BASE_URL', refusing)
        assert run(config, tmp_path / 'w') == 1
    summary = json.loads((tmp_path / 'w/summary.json').read_text())
    assert (summary['failed'], summary['answered']) == (12, 0)
    assert 'too long' in (tmp_path / 'w/rejected.jsonl').read_text()
    monkeypatch.setenv('OPENAI_BASE_URL', here)
    assert run(config, tmp_path / 'w', '--resume') == 0
    accounted(tmp_path / 'w', 12)


def test_a_missing_address_is_bad_usage_and_leaves_nothing_to_resume(tmp_path, address, monkeypatch, capsys):
    for name in ('OPENAI_BASE_URL', 'OPENAI_API_KEY'):
        monkeypatch.delenv(name, raising=False)
    config = write_project(tmp_path, 3)
    assert run(config, tmp_path / 'w') == 2
    told = capsys.readouterr().err
    assert 'set OPENAI_BASE_URL' in told
    assert '--resume' not in told
    monkeypatch.setenv('OPENAI_BASE_URL', address)
    assert run(config, tmp_path / 'w') == 0


def test_two_processes_do_not_share_a_work_dir(done, here, capsys):
    first = Run(read_settings(done / 'config.py'), done / 'w')
    try:
        assert run(done / 'config.py', done / 'w', '--resume') == 2
        assert 'another process' in capsys.readouterr().err
    finally:
        first.close()


@pytest.mark.slow
@pytest.mark.parametrize(('items', 'languages'), [(1000, ()), (60, ('es', 'ko'))])
def test_killed_three_times_it_ends_as_if_undisturbed(tmp_path, items, languages):
    concurrency = 32
    config = write_project(tmp_path, items, languages, concurrency)
    options = dict(rule='tests.syphus.rules:syphus', latency=0.02, faults=FAULTS)
    with rule_server(**options) as address:
        undisturbed = tool(config, tmp_path / 'calm', address)
        out, _ = undisturbed.communicate()
        assert undisturbed.returncode == 0, out
        calm = log_of(address)
    with rule_server(**options) as address:
        for share in (0.1, 0.35, 0.7):
            process = tool(config, tmp_path / 'w', address, '--resume')
            while log_of(address)['different'] < share * calm['different']:
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.01)
            process.kill()
            process.wait()
        last = tool(config, tmp_path / 'w', address, '--resume')
        out, _ = last.communicate()
        assert last.returncode == 0, out
        log = log_of(address)
    repeats = log['answered'] - calm['answered']
    print(f'\n{items} items, {calm["answered"]} replies undisturbed; killed three times: {repeats} asked twice')
    assert repeats <= 3 * concurrency
    assert log['different'] == calm['different']
    assert product(tmp_path / 'w') == product(tmp_path / 'calm')
    accounted(tmp_path / 'w', items)
