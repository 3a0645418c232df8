"""Our own models under evaluation: what batches share changes no answer, and is computed once."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from mmgpt.data.templates import OpenFlamingo, Otter
from mmgpt.evaluation import Generation, Item, Prompt
from mmgpt.evaluation.models import evaluated
from mmgpt.evaluation.models.ranking import choice_tokens
from mmgpt.evaluation.plan import plan_batches
from mmgpt.evaluation.prompts import PromptWriter
from mmgpt.evaluation.tasks import EvaluationTask
from mmgpt.hub.io import load_folder, save_folder
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.structures import Medium
from tests.hub import tiny


class Questions(EvaluationTask):
    name, kind, main = 'questions', 'vqa', 'accuracy'
    answering = Generation(max_new_tokens=4)
    queries = ()

    def open(self, frame):
        return tiny.picture(frame)

    def score(self, items, answers):
        raise NotImplementedError


QUERIES = ['What is it?', 'What is this?', 'Is it a dog?', 'What digit is it called?']


def item(number: int, question: str, answer: str = '') -> Item:
    return Item(number, question, answer, (Medium((number,)),))


def prompts(shots: int = 2) -> list[Prompt]:
    shown = tuple(item(number, 'What is this?', 'A dog.') for number in range(shots))
    return [Prompt(shown, item(3 + number, text)) for number, text in enumerate(QUERIES)]


@pytest.fixture(scope='module', params=['previous', 'next', 'all_previous'])
def model(request):
    prompter = tiny.prompter(Otter())
    return (built := tiny.build(prompter, attend=request.param)), FlamingoProcessor.for_model(prompter, built)


def pictures(prompt: Prompt) -> list:
    items = (*prompt.demonstrations, prompt.query)
    return [tiny.picture(frame) for item in items for medium in item.media for frame in medium.frames]


def alone(model, prompts, settings, style='otter'):
    """Each prompt asked by plain ``generate``."""
    flamingo, processor = model
    writer, answers = PromptWriter(Questions(), style), []
    for prompt in prompts:
        text = writer.render(prompt, processor.prompter.template).text
        inputs = processor(text=text, images=pictures(prompt))
        out = flamingo.generate(
            **inputs,
            max_new_tokens=settings.max_new_tokens,
            num_beams=settings.num_beams,
            do_sample=False,
            eos_token_id=processor.stop_token_ids,
        )
        answers.append(processor.decode(out[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True))
    return answers


@pytest.mark.parametrize('beams', [1, 3])
@pytest.mark.parametrize('shots', [0, 2])
def test_answers_of_a_batch_are_those_of_plain_generate(model, beams, shots):
    settings = Generation(max_new_tokens=4, num_beams=beams)
    asked = prompts(shots)
    writer = PromptWriter(Questions(), 'otter')
    subject = evaluated(*model)
    lengths = subject.lengths(asked, writer)
    given = {}
    for length in dict.fromkeys(lengths):
        places = [place for place, other in enumerate(lengths) if other == length]
        answers = subject.generate([asked[place] for place in places], writer, settings)
        given |= dict(zip(places, answers, strict=True))
    assert [given[place] for place in range(len(asked))] == alone(model, asked, settings)
    assert subject.generate(asked, writer, settings) == alone(model, asked, settings)  # of different lengths


def test_the_shared_beginning_is_computed_once_where_no_text_looks_ahead(model):
    subject, writer = evaluated(*model), PromptWriter(Questions(), 'otter')
    asked = prompts()
    asked += [replace(prompt, query=item(9 + n, prompt.query.question)) for n, prompt in enumerate(asked)]
    total = sum(lengths := subject.lengths(asked, writer))
    for batch in plan_batches(asked, lengths, 2):
        subject.generate([asked[place] for place in batch], writer, Generation(max_new_tokens=1))
    if model[0].config.attend == 'next':
        assert subject.computed == total
    else:
        shown = len(subject._prefix.ids)
        assert shown > 30
        assert subject.computed == total - 7 * shown


def test_another_picture_in_a_demonstration_is_not_taken_for_the_same(model):
    writer, settings = PromptWriter(Questions(), 'otter'), Generation(max_new_tokens=4)
    asked = prompts()
    changed = [
        Prompt((item(7, 'What is this?', 'A dog.'), *prompt.demonstrations[1:]), prompt.query) for prompt in asked[:2]
    ]
    subject = evaluated(*model)
    subject.generate(asked[:2], writer, settings)
    assert subject.generate(changed, writer, settings) == alone(model, changed, settings)
    mixed = [asked[0], changed[1]]
    assert subject.generate(mixed, writer, settings) == alone(model, mixed, settings)


@pytest.mark.parametrize('normalisation', ['mean', 'sum'])
def test_ranking_gives_the_log_probabilities_of_whole_texts(model, normalisation):
    flamingo, processor = model
    writer = PromptWriter(Questions(), 'otter')
    choices = ['dog', 'a red shoe', 'no', 'What is it called?']
    asked = [Prompt(prompts()[0].demonstrations, item(3 + n, 'What is it?')) for n in range(3)]
    scores = evaluated(*model).rank(asked, [choices, choices[:2], choices], writer, normalisation)
    assert list(map(len, scores)) == [4, 2, 4]
    for prompt, row in zip(asked, scores, strict=True):
        text = writer.render(prompt, processor.prompter.template).text
        shown = pictures(prompt)
        start = processor(text=text, images=shown)['input_ids'].shape[1]
        for choice, score in zip(choices, row, strict=False):
            inputs = processor(text=text + choice, images=shown)
            with torch.inference_mode():
                given = flamingo(**inputs).logits[0, start - 1 : -1].float().log_softmax(-1)
            each = given.gather(-1, inputs['input_ids'][0, start:, None])
            expected = each.mean() if normalisation == 'mean' else each.sum()
            assert score == pytest.approx(float(expected), abs=2e-4)


def test_marks_in_a_choice_are_taken_out(model):
    writer = PromptWriter(Questions(), 'otter')
    asked = prompts()[:1]
    [scores] = evaluated(*model).rank(asked, [['no', '<image>no <|endofchunk|>']], writer, 'mean')
    assert scores[0] == scores[1]


def test_a_choice_has_the_tokens_that_it_has_behind_the_prompt(any_tokenizer):
    text = '<image>User: Is it hot? GPT:<answer>'
    [tokens] = choice_tokens(any_tokenizer, text, ['larger picture'])
    whole = any_tokenizer(text + 'larger picture', add_special_tokens=False)['input_ids']
    begun = any_tokenizer(text, add_special_tokens=False)['input_ids']
    assert [*begun, *tokens] == whole
    with pytest.raises(ValueError, match="the choice '' has no tokens"):
        choice_tokens(any_tokenizer, text, [''])


def test_a_model_without_media_in_its_demonstrations_skips_nothing_that_a_query_needs():
    """Text-only demonstrations: their beginning would have skipped the gated blocks, the whole prompt does not."""
    prompter = tiny.prompter(OpenFlamingo())
    model = tiny.build(prompter, without_media='skip')
    model = model, FlamingoProcessor.for_model(prompter, model)
    shown = tuple(Item(number, 'What is this?', 'A dog.') for number in range(2))
    asked = [Prompt(shown, item(3 + number, 'What is it?')) for number in range(2)]
    settings = Generation(max_new_tokens=4)
    subject = evaluated(*model)
    assert subject.generate(asked, PromptWriter(Questions()), settings) == alone(model, asked, settings, 'openflamingo')


def test_answers_of_other_weights_or_dtypes_are_not_taken_over(tmp_path):
    shared, processor = tiny.model_and_processor()
    built = copy.deepcopy(shared)
    first = evaluated(built, processor).fingerprint
    assert evaluated(built, processor).fingerprint == first
    next(built.resampler.parameters()).data.add_(0.01)
    trained = evaluated(built, processor).fingerprint
    assert trained != first
    folder = save_folder(tmp_path / 'hf', built, processor)
    loaded = [evaluated(*load_folder(folder, 'cpu', dtype)).fingerprint for dtype in ('float32', 'float32', 'bfloat16')]
    assert loaded[0] == loaded[1] != loaded[2]


def test_who_is_no_model_is_told():
    with pytest.raises(TypeError, match='expected an EvaluatedModel, or a Flamingo with its processor; got int'):
        evaluated(3)
