"""The pictures of the characters demo: letters, drawn in the faces of DejaVu that come with matplotlib."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# fmt: off
FACES = (
    'DejaVuSans', 'DejaVuSans-Bold', 'DejaVuSans-Oblique', 'DejaVuSans-BoldOblique',
    'DejaVuSansMono', 'DejaVuSansMono-Bold', 'DejaVuSansMono-Oblique', 'DejaVuSansMono-BoldOblique',
    'DejaVuSerif', 'DejaVuSerif-Bold', 'DejaVuSerif-Italic', 'DejaVuSerif-BoldItalic',
)
# fmt: on
HELD_OUT_FACE = len(FACES) - 1  # nothing is trained on in this one
TRAINED_FACES = tuple(face for face in range(len(FACES)) if face != HELD_OUT_FACE)
TRAINED_SCRIPTS = ('LATIN', 'CYRILLIC')
HELD_OUT_SCRIPTS = ('ARMENIAN', 'GEORGIAN', 'GREEK')
SIDE = 32  # pixels of a picture's side
SIZE = 24  # pixels of an em; a letter stands on a line three quarters down
SMALL = 13  # pixels of an em where a picture shows several letters
MAX_COUNT = 5  # letters of a scattered picture
EVERY = 10  # one of so many letters is kept for validation


def face_path(face: int) -> Path:
    """The font file of a face."""
    import matplotlib

    return Path(matplotlib.get_data_path(), 'fonts', 'ttf', f'{FACES[face]}.ttf')


@cache
def font(face: int, size: int) -> ImageFont.FreeTypeFont:
    """A face at a size in pixels."""
    return ImageFont.truetype(str(face_path(face)), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def shared_letters(scripts: tuple[str, ...]) -> str:
    """The letters of scripts that every face has, by code point; those of Greek without its accented ones.

    A letter is what Unicode has in the categories of letters, with the script's name first in its own. Greek letters
    with accents are left out (as pictures they differ from others by a speck), Latin and Cyrillic ones are in.

    Args:
        scripts: 'LATIN', 'CYRILLIC', 'ARMENIAN', 'GEORGIAN', 'GREEK'.
    """
    from matplotlib.ft2font import FT2Font

    everywhere = set.intersection(*(set(FT2Font(str(face_path(face))).get_charmap()) for face in range(len(FACES))))
    return ''.join(
        chr(code)
        for code in sorted(everywhere)
        if chr(code).isalpha()
        and script_of(chr(code)) in scripts
        and (script_of(chr(code)) != 'GREEK' or unicodedata.normalize('NFD', chr(code)) == chr(code))
    )


def script_of(letter: str) -> str:
    """The first word of a letter's Unicode name: 'LATIN', 'GREEK', …"""
    return unicodedata.name(letter, '').partition(' ')[0]


def held_out_letters(scripts: Sequence[str] = HELD_OUT_SCRIPTS) -> str:
    """The letters of scripts that nothing is trained on: 202 of Armenian, Georgian and Greek."""
    return shared_letters(tuple(scripts))


def trained_letters(validation: bool = False) -> str:
    """Letters of Latin and Cyrillic that fit a picture and look different from each other in some face.

    Args:
        validation: those that are kept for decisions, one of ten; else the other ones, which are trained on.
    """
    kept = validation_split(_different_letters())
    return kept[int(validation)]


def validation_split(letters: str) -> tuple[str, str]:
    """Letters in two parts: most, and one of ten of those beyond ASCII, whose capitals words are made of."""
    kept = [letter for letter in letters if not letter.isascii()][::EVERY]
    return ''.join(letter for letter in letters if letter not in kept), ''.join(kept)


@cache
def _different_letters() -> str:
    seen: dict[bytes, str] = {}
    for letter in shared_letters(TRAINED_SCRIPTS):
        if all(font(face, SIZE).getlength(letter) <= SIDE for face in range(len(FACES))):
            look = b''.join(draw_letter(letter, face).tobytes() for face in range(len(FACES)))
            seen.setdefault(look, letter)
    return ''.join(seen.values())


@cache
def draw_letter(letter: str, face: int) -> Image.Image:
    """A letter, white on black, 32 x 32 grey pixels. It is shared: change a copy only."""
    return _draw(letter, font(face, SIZE), SIDE, line=SIDE * 3 // 4)


def draw_word(word: str, face: int) -> Image.Image:
    """Capital letters in a row, white on black, 32 pixels high and at least as wide."""
    drawn = font(face, SMALL)
    return _draw(word, drawn, max(SIDE, int(drawn.getlength(word)) + 3), line=(SIDE + SMALL * 3 // 4) // 2)


def _draw(text: str, drawn: ImageFont.FreeTypeFont, width: int, line: int) -> Image.Image:
    canvas = Image.new('L', (width, SIDE))
    ImageDraw.Draw(canvas).text((width / 2, line), text, font=drawn, fill=255, anchor='ms')
    return canvas


def scatter_letters(letters: Sequence[str], faces: Sequence[int], rng: np.random.Generator) -> Image.Image:
    """Small letters in cells of a grid of three by three, no two in one.

    Args:
        letters: what is shown, at most ``MAX_COUNT``.
        faces: of each.
        rng: what their places are drawn from.

    Raises:
        ValueError: there are more letters than ``MAX_COUNT``.
    """
    if len(letters) > MAX_COUNT:
        raise ValueError(f'a picture shows at most {MAX_COUNT} scattered letters, got {len(letters)}')
    cell = SIDE // 2
    canvas = Image.new('L', (3 * cell, 3 * cell))
    for letter, face, place in zip(letters, faces, rng.permutation(9)[: len(letters)], strict=True):
        row, column = divmod(int(place), 3)
        box = Image.new('L', (cell, cell))
        middle = (cell // 2 + int(rng.integers(-1, 2)), cell * 3 // 4)
        ImageDraw.Draw(box).text(middle, letter, font=font(face, SMALL), fill=255, anchor='ms')
        canvas.paste(box, (column * cell, row * cell))
    return canvas
