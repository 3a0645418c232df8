"""Figures of captions against pycocoevalcap's, frozen by ``frozen/make_captions.py``."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from mmgpt.evaluation.metrics import BLEU, METEOR, ROUGEL, SPICE, CIDEr
from mmgpt.evaluation.metrics.captions import longest_common
from mmgpt.evaluation.metrics.ptb import tokenize


@pytest.fixture(scope='module')
def frozen() -> dict:
    return json.loads(gzip.decompress((Path(__file__).parent / 'frozen/captions.json.gz').read_bytes()))


def test_tokens_are_those_of_the_java_program(frozen):
    pairs = list(zip(frozen['answers'], frozen['tokens']['answers'], strict=True))
    for few, tokens in zip(frozen['references'], frozen['tokens']['references'], strict=True):
        pairs += zip(few, tokens, strict=True)
    assert len(pairs) > 2000
    assert [(text, tokenize(text)) for text, _ in pairs] == pairs


@pytest.mark.parametrize(
    ('text', 'tokens'),  # the Java program's
    [
        ('A no. 5 jersey, the no.1 choice', 'a no. 5 jersey the no. 1 choice'),
        ('no. The end', 'no the end'),
        ('A 6 ft. man, 8 ft. by 10 ft.', 'a 6 ft. man 8 ft. by 10 ft.'),
        ("Ma'am, c'mon", "ma'am c'mon"),
        ("Hawai'i, Xi'an, e'er and s'mores", "hawai'i xi'an e'er and s'mores"),
        ("ol' man, somethin' else", "ol' man somethin' else"),
        ("X's and O's, HE'S, TEA'S", "x 's and o 's he 's tea 's"),
        ("O'Hare's, L'Oreal", "o'hare 's l'oreal"),
        ('a cat_dog hybrid, IMG_001.jpg', 'a cat_dog hybrid img_001 jpg'),
        ('a_b-c, dog-cat_x, _a __ b', 'a_b-c dog-cat_x _ a __ b'),
        ('1/2/2010, 12/25/2010. 12/25, 1/2-inch', '1/2/2010 12/25/2010 12/25 1/2-inch'),
        ('two people,2 dogs,3rd .5 miles', 'two people ,2 dogs ,3 rd .5 miles'),
        ('a...5 dogs at 10:30, 4.5.', 'a. .5 dogs at 10:30 4.5'),
        ('the U.S.A dog, P.J.s, a.b.c', 'the u.s.a dog p.j.s a.b.c'),
        ('a wanna-be, I wanna be', 'a wanna-be i wan na be'),
        ('<unk> a dog </s> a < b', '<unk> a dog </s> a < b'),
        ('a dog :D =d :Dog', 'a dog :d =d dog'),
    ],
)
def test_tokens_of_rarer_forms(text, tokens):
    assert tokenize(text) == tokens


def test_figures_are_those_of_pycocoevalcap(frozen):
    answers, references, figures = frozen['answers'], frozen['references'], frozen['figures']
    assert len(answers) >= 500
    cider, each = CIDEr()(answers, references)
    assert cider['CIDEr'] / 100 == pytest.approx(figures['CIDEr']['total'], abs=1e-6)
    assert [value / 100 for value in each] == pytest.approx(figures['CIDEr']['each'], abs=1e-6)
    rouge, each = ROUGEL()(answers, references)
    assert rouge['ROUGE-L'] / 100 == pytest.approx(figures['ROUGE-L']['total'], abs=1e-6)
    assert [value / 100 for value in each] == pytest.approx(figures['ROUGE-L']['each'], abs=1e-6)
    bleu, _ = BLEU()(answers, references)
    assert [value / 100 for value in bleu.values()] == pytest.approx(figures['BLEU']['total'], abs=1e-6)


def test_a_caption_without_references_is_an_error():
    with pytest.raises(ValueError, match=r"'a dog' \(number 1\) has no references"):
        CIDEr()(['a cat', 'a dog'], [['a cat'], []])


def test_longest_common_subsequence():
    assert longest_common(list('abcd'), list('bxdc')) == 2
    assert longest_common(['a'], ['b']) == 0


@pytest.mark.java
def test_meteor_is_a_java_program():
    pytest.importorskip('pycocoevalcap.meteor.meteor', reason='pip install "mmgpt[evaluation]"')
    if shutil.which('java') is None:
        pytest.skip('apt-get install default-jre-headless')
    figures, each = METEOR()(['a dog runs', 'a red bus'], [['a dog runs', 'the dog'], ['two cats sleep']])
    assert each is None
    assert 40 < figures['METEOR'] < 60  # the first is right as a whole, the second but for its article


def spice():
    pytest.importorskip('pycocoevalcap.spice', reason='pip install "mmgpt[evaluation]"')
    try:
        return SPICE()
    except ImportError as error:
        return error


@pytest.mark.java
def test_spice_of_a_captions_own_words_is_whole():
    metric = spice()
    if isinstance(metric, ImportError):
        pytest.skip(str(metric))
    figures, _ = metric(['a brown dog runs', 'a red bus'], [['a brown dog runs'], ['two cats sleep']])
    assert figures == {'SPICE': pytest.approx(50)}


def test_without_its_parser_spice_says_how_to_fetch_it(monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: f'/usr/bin/{name}')
    monkeypatch.setattr(Path, 'glob', lambda path, pattern: iter(()))
    error = spice()
    assert isinstance(error, ImportError)
    assert 'Stanford CoreNLP, which is not there; fetch it: python -c "from pycocoevalcap.spice' in str(error)


def test_without_java_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(ImportError, match='METEOR is a Java program, and there is no java'):
        METEOR()
