"""What a user does in a browser."""

from __future__ import annotations

import io
import json

from PIL import Image
from playwright.sync_api import expect

from tests.hub import tiny

# The lines of digits as a hand draws them, in fractions of the canvas.
STROKES = {
    0: [[(0.5, 0.15), (0.25, 0.35), (0.25, 0.65), (0.5, 0.87), (0.75, 0.65), (0.75, 0.35), (0.5, 0.15)]],
    1: [[(0.5, 0.15), (0.5, 0.85)]],
    2: [[(0.28, 0.3), (0.45, 0.15), (0.68, 0.25), (0.65, 0.45), (0.28, 0.82), (0.75, 0.82)]],
    3: [[(0.3, 0.2), (0.7, 0.2), (0.5, 0.45), (0.72, 0.65), (0.5, 0.85), (0.28, 0.8)]],
    4: [[(0.62, 0.85), (0.62, 0.15), (0.25, 0.6), (0.8, 0.6)]],
    5: [[(0.72, 0.17), (0.35, 0.17), (0.32, 0.45), (0.62, 0.45), (0.7, 0.65), (0.55, 0.85), (0.28, 0.8)]],
    6: [[(0.62, 0.15), (0.35, 0.45), (0.3, 0.7), (0.5, 0.86), (0.68, 0.7), (0.55, 0.52), (0.33, 0.62)]],
    7: [[(0.25, 0.2), (0.75, 0.2), (0.4, 0.85)]],
    9: [[(0.66, 0.35), (0.48, 0.5), (0.34, 0.33), (0.5, 0.16), (0.66, 0.3), (0.66, 0.6), (0.6, 0.86)]],
}
ANSWERED = '.turn.assistant .tools:not([hidden])'
# Controls without a name, texts of too little contrast, and whether the page is wider than the window.
LOOK_AND_NAMES = """() => {
  const visible = (element) => element.checkVisibility({ visibilityProperty: true });
  const named = (e) => e.getAttribute('aria-label') || e.textContent.trim() || e.title
    || [...(e.labels || [])].map((label) => label.textContent.trim()).join('') || e.getAttribute('aria-labelledby');
  const controls = [...document.querySelectorAll('button, select, input, textarea, a')].filter(visible);
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const kinds = 'p, h1, h2, dt, dd, .meta, .bubble, .button:not(:disabled), [role=tab], [role=radio]';
  const texts = [...document.querySelectorAll(kinds)]
    .filter((e) => visible(e) && e.textContent.trim() && !e.closest('.hidden'));
  return {
    nameless: controls.filter((e) => !named(e)).map((e) => e.outerHTML),
    wide: document.documentElement.scrollWidth - innerWidth,
    background: light(getComputedStyle(document.body).backgroundColor),
    faint: texts.map((e) => {
      const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), e.textContent.trim()];
    }).filter(([contrast]) => contrast < 4.5),
  };
}"""


def file(picture: Image.Image, name='picture.png') -> dict:
    data = io.BytesIO()
    picture.save(data, 'PNG')
    return {'name': name, 'mimeType': 'image/png', 'buffer': data.getvalue()}


def expect_count(page, selector, count):
    expect(page.locator(selector)).to_have_count(count, timeout=15_000)


def choose(page, *values):
    page.set_input_files('#files', [file(tiny.picture(value), f'{value}.png') for value in values])
    expect_count(page, '#tray li', len(values))


def ask(page, text, answers=1):
    page.fill('#question', text)
    page.keyboard.press('Enter')
    expect_count(page, ANSWERED, answers)
    return page.inner_text('.turn.assistant:last-child .bubble')


def same(shown, expected):
    """An answer in the page, whose blanks a browser may show otherwise."""
    return shown.split() == expected.split()


def with_images(text, *values):
    return tiny.user(text, *(tiny.image(value) for value in values))


def draw(page, digit):
    box = page.locator('.paper').bounding_box()
    for stroke in STROKES[digit]:
        points = [(box['x'] + x * box['width'], box['y'] + y * box['height']) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=8)
        page.mouse.up()


def sent(page, act):
    """The JSON of the chat completion that an act asks for."""
    with page.expect_request('**/v1/chat/completions') as waiting:
        act()
    return json.loads(waiting.value.post_data)
