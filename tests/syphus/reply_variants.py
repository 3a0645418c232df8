"""Replies as models write them: many layouts of the same pairs, and their faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

Pairs = list[tuple[str, str]]


class Variant(NamedTuple):
    """A reply, the pairs in it, and reasons of which one must be told; none = no fault."""

    name: str
    text: str
    pairs: Pairs
    reason: str = ''
    finish: str = 'stop'


CONTENTS: dict[str, Pairs] = {
    'plain': [('What is he doing?', 'He repairs a chair.'), ('Where is the dog?', 'Under the table.')],
    'colons': [
        ('What is on the list?', 'Three things: milk, eggs: six of them, and bread.'),
        ('Ratio: what is it?', '3:1'),
    ],
    'short': [('What digit is this?', '7'), ('Is it even?', 'no')],
    'quotes': [('What does the sign say?', 'It says "Open" in red.'), ("Whose is it? Ann's?", "It's hers, isn't it.")],
    'orders': [
        ('Describe the picture.', 'A boat lies on the beach (upside down).'),
        ('List two colours.', 'Blue, white'),
    ],
}


def lines(question='Question', answer='Answer', colon=': ', between='\n', after='\n\n', number='', wrap='', before=''):
    def layout(pairs: Pairs) -> str:
        told = []
        for n, (q, a) in enumerate(pairs, 1):
            head = number.format(n=n)
            told.append(f'{before}{head}{wrap}{question.format(n=n)}{colon}{wrap and wrap + " "}{q}{between}'
                        f'{before}{wrap}{answer.format(n=n)}{colon}{wrap and wrap + " "}{a}')  # fmt: skip
        return after.join(told)

    return layout


def objects(question='question', answer='answer', wrap: Callable = lambda rows: rows, **options):
    return lambda pairs: json.dumps(wrap([{question: q, answer: a} for q, a in pairs]), ensure_ascii=False, **options)


def table(pairs: Pairs) -> str:
    return '| Question | Answer |\n|---|---|\n' + '\n'.join(f'| {q} | {a} |' for q, a in pairs)


LAYOUTS: dict[str, Callable[[Pairs], str]] = {
    'published': lines(),
    'published, no empty line': lines(after='\n'),
    'Instruction/Answer': lines('Instruction'),
    'Instruction/Response': lines('Instruction', 'Response'),
    'Q/A': lines('Q', 'A'),
    'Q1/A1': lines('Q{n}', 'A{n}'),
    'Question 1/Answer 1': lines('Question {n}', 'Answer {n}'),
    'Question #1': lines('Question #{n}', 'Answer #{n}'),
    'capitals': lines('QUESTION', 'ANSWER'),
    'small letters': lines('question', 'answer'),
    'wide colon': lines(colon='：'),
    'blank before colon': lines(colon=' : '),
    'no blank after colon': lines(colon=':'),
    'numbered': lines(number='{n}. '),
    'numbered by bracket': lines(number='{n}) '),
    'dashes': lines(before='- '),
    'quoted': lines(before='> '),
    'indented': lines(before='   '),
    'bold marks': lines(wrap='**'),
    'headings': lines(before='### ', between='\n', colon=':\n'),
    'marks on lines of their own': lines(colon=':\n'),
    'rules between': lines(after='\n\n---\n\n'),
    'empty line between question and answer': lines(between='\n\n'),
    'many empty lines': lines(after='\n\n\n\n'),
    'one line each': lines(between=' ', after='\n'),
    'windows line ends': lambda pairs: lines()(pairs).replace('\n', '\r\n'),
    'human and assistant': lines('Human', 'Assistant'),
    'user and gpt': lines('User', 'GPT'),
    'in a fence': lambda pairs: f'```\n{lines()(pairs)}\n```',
    'with an opening': lambda pairs: f'Sure! Here are two questions for you:\n\n{lines()(pairs)}',
    'with a closing': lambda pairs: f'{lines()(pairs)}\n\nI hope these help! Let me know if you need more.',
    'with a title': lambda pairs: f'Conversation 1\n\n{lines()(pairs)}',
    'tags': lambda pairs: '\n'.join(f'<question>{q}</question>\n<answer>{a}</answer>' for q, a in pairs),
    'tags a and b': lambda pairs: '\n'.join(f'<a>{q}</a><b>{a}</b>' for q, a in pairs),
    'table': table,
    'after thoughts': lambda pairs: f'<think>Question: is this read? Answer: no.</think>\n{lines()(pairs)}',
    'JSON by schema': objects(wrap=lambda rows: {'pairs': rows}),
    'JSON list': objects(),
    'JSON, published names': objects('Question', 'Answer'),
    'JSON, instruction and answer': objects('instruction', 'answer'),
    'JSON, instruction and response': objects('instruction', 'response'),
    'JSON, Q and A': objects('Q', 'A'),
    'JSON, other wrap': objects(wrap=lambda rows: {'data': {'qa_pairs': rows}}),
    'JSON, indented': objects(indent=2),
    'JSON in a fence': lambda pairs: f'```json\n{objects()(pairs)}\n```',
    'JSON with an opening': lambda pairs: f'Here is the JSON you asked for:\n{objects(indent=1)(pairs)}\nEnjoy!',
    'JSON lines': lambda pairs: '\n'.join(objects(wrap=lambda rows: rows[0])([pair]) for pair in pairs),
    'JSON, comma too many': lambda pairs: objects()(pairs).replace('}]', '},]'),
    'JSON, comma too few': lambda pairs: objects(indent=1)(pairs).replace('},', '}'),
    'JSON, a pair of texts': lambda pairs: json.dumps([[q, a] for q, a in pairs], ensure_ascii=False),
    'JSON, conversation': lambda pairs: json.dumps(
        [turn for q, a in pairs for turn in ({'from': 'human', 'value': q}, {'from': 'gpt', 'value': a})]
    ),
    'JSON, roles': lambda pairs: json.dumps(
        {'messages': [t for q, a in pairs for t in ({'role': 'user', 'content': q}, {'role': 'assistant', 'content': a})]}
    ),
    'JSON, numbered names': lambda pairs: json.dumps(
        {f'{kind}{n}': text for n, pair in enumerate(pairs, 1) for kind, text in zip(('question', 'answer'), pair)}
    ),
    "Python's form": lambda pairs: repr([{'question': q, 'answer': a} for q, a in pairs]),
    'names without quotes': lambda pairs: objects()(pairs).replace('"question":', 'question:').replace('"answer":', 'answer:'),
}  # fmt: skip


def whole() -> list[Variant]:
    """Every layout with every content."""
    found = []
    for name, layout in LAYOUTS.items():
        found += [Variant(f'{name}; {content}', layout(pairs), pairs) for content, pairs in CONTENTS.items()]
    return found


ONE = [('What is it?', 'A dog.')]
TWO = CONTENTS['plain']
FAULTY = [
    Variant('nothing', '', [], 'the reply is empty'),
    Variant('blanks', ' \n\t\n', [], 'the reply is empty'),
    Variant('thoughts alone', '<think>I should write pairs.', [], 'only thoughts, no reply'),
    Variant('prose', 'The video shows a dog. It runs.', [], 'no question and no answer were found'),
    Variant('refusal', "I'm sorry, but I cannot help with that.", [], 'no question and no answer were found'),
    Variant('question alone', 'Question: What is it?', [], 'a question without an answer'),
    Variant('answer alone', 'Answer: A dog.', [], 'an answer without a question'),
    Variant('empty answer', 'Question: What is it?\nAnswer:', [], 'a question without an answer'),
    Variant('empty question', 'Question:\nAnswer: A dog.', [], 'an answer without a question'),
    Variant('both empty', 'Question:\nAnswer:', [], 'an empty pair'),
    Variant('two questions', 'Question: Who?\nQuestion: What is it?\nAnswer: A dog.', ONE, 'a question without an answer'),
    Variant('two answers', 'Question: What is it?\nAnswer: A dog.\nAnswer: A cat.', ONE, 'an answer without a question'),
    Variant('cut text', 'Question: What is it?\nAnswer: A dog.\n\nQuestion: Whe', ONE, 'a question without an answer'),
    Variant(
        'cut at the length', 'Question: What is it?\nAnswer: A dog.\n\nQuestion: Why?\nAnswer: Becau', ONE,
        'the reply was cut at its greatest length', 'length',
    ),
    Variant('cut JSON', '{"pairs": [{"question": "What is it?", "answer": "A dog."}, {"question": "Wh', ONE, 'broken JSON'),
    Variant('cut in the first object', '[{"question": "What is it?", "answ', [], 'broken JSON'),
    Variant('JSON without pairs', '{"status": "ok"}', [], 'an object without a question and an answer'),
    Variant('JSON, no answer', '[{"question": "What is it?"}]', [], 'a question without an answer'),
    Variant('JSON, null', '[{"question": "What is it?", "answer": null}]', [], 'a question without an answer'),
    Variant('JSON, an object as answer', '[{"question": "What?", "answer": {"x": [1]}}]', [], 'no text'),
    Variant('JSON, texts', '["What is it?", "A dog.", "Who?"]', [], 'a text where a pair was expected'),
    Variant('JSON, nested too deeply', '[' * 12 + '{"question": "a?", "answer": "b"}' + ']' * 12, [], 'nested too deeply'),
    Variant('JSON, human twice', '[{"from": "human", "value": "Who?"}, {"from": "human", "value": "What is it?"}, '
            '{"from": "gpt", "value": "A dog."}]', ONE, 'a question without an answer'),
    Variant('one good, one bad object', '[{"question": "What is it?", "answer": "A dog."}, {"question": "Who?"}]', ONE,
            'a question without an answer'),
    Variant('too many', '\n\n'.join(f'Question: {n}?\nAnswer: {n}.' for n in range(300)),
            [(f'{n}?', f'{n}.') for n in range(255)], 'more than 255 pairs'),
]  # fmt: skip
ODD = [
    Variant('answer of several lines', 'Question: What is it?\nAnswer: A dog.\nIt is brown.', [('What is it?', 'A dog.\nIt is brown.')]),
    Variant('answer of paragraphs', 'Q: Tell.\nA: One.\n\nTwo.', [('Tell.', 'One.\n\nTwo.')]),
    Variant('answer with a list', 'Q: Which?\nA: These:\n1. red\n2. blue', [('Which?', 'These:\n1. red\n2. blue')]),
    Variant('all in one line', 'Q: What is it? A: A dog. Q: Who? A: Ann.', [*ONE, ('Who?', 'Ann.')]),
    Variant('number as JSON', '[{"question": "How many?", "answer": 3}]', [('How many?', '3')]),
    Variant('truth as JSON', '[{"question": "Is it red?", "answer": true}]', [('Is it red?', 'Yes')]),
    Variant('list as answer', '[{"question": "Which?", "answer": ["red", "blue"]}]', [('Which?', 'red\nblue')]),
    Variant('line break within JSON', '[{"question": "What is it?", "answer": "A\ndog."}]', [('What is it?', 'A\ndog.')]),
    Variant('braces in an answer', '[{"question": "What is it?", "answer": "A {dog} [x]."}]', [('What is it?', 'A {dog} [x].')]),
    Variant('questions as names', '{"What is it?": "A dog."}', ONE),
    Variant('without marks', '1. What is it?\nA dog.\n\n2. Who?\nAnn.', [*ONE, ('Who?', 'Ann.')]),
    Variant('without marks, dashes', '- What is it?\n  - A dog.\n- Who?\n  - Ann.', [*ONE, ('Who?', 'Ann.')]),
    Variant('a reason', 'Question: What is it?\nAnswer: A dog.\nReason: It barks.', ONE),
    Variant('two conversations', 'Conversation 1\n\nQ: What is it?\nA: A dog.\n\nConversation 2\n\nQ: Who?\nA: Ann.',
            [*ONE, ('Who?', 'Ann.')]),
    Variant('byte order mark', '\ufeffQuestion: What is it?\nAnswer: A dog.', ONE),
    Variant('Chinese marks', '问题：What is it?\n回答：A dog.', ONE),
    Variant('bold all over', '**Question: What is it?**\n**Answer: A dog.**', ONE),
    Variant('stars as bullets', '* Question: What is it?\n* Answer: A dog.', ONE),
    Variant('answer that quotes a question', 'Q: What is it?\nA: He asks: where is it?', [('What is it?', 'He asks: where is it?')]),
    Variant('question and answer in the text', 'Question: What is the question?\nAnswer: The answer is a dog.',
            [('What is the question?', 'The answer is a dog.')]),
    Variant('length, but JSON is whole', '[{"question": "What is it?", "answer": "A dog."}]', ONE, '', 'length'),
]  # fmt: skip
