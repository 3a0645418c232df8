"""A folder that a builder makes."""

from __future__ import annotations

import pytest

from mmgpt.data.builders.made_folder import MadeFolder


class Letters(MadeFolder):
    """Another one builds the same folder while this one writes."""

    def __init__(self, folder, letter, other=None):
        super().__init__(folder)
        self.letter, self.other = letter, other

    def _arguments(self):
        return {'letter': self.letter}

    def _write(self, folder):
        (folder / 'letter.txt').write_text(self.letter)
        if self.other is not None:
            self.folder.mkdir()
            for name, text in self.other.items():
                (self.folder / name).write_text(text)


def test_of_two_that_build_the_same_folder_at_once_one_stays(tmp_path):
    builder = Letters(tmp_path / 'made', 'a', {'made_by.json': '{"letter": "a"}', 'letter.txt': 'a'})
    builder.build()
    assert builder.is_built()
    assert [path.name for path in tmp_path.iterdir()] == ['made']


def test_a_folder_of_other_arguments_that_appears_meanwhile_is_a_fault(tmp_path):
    with pytest.raises(OSError, match='made'):
        Letters(tmp_path / 'made', 'a', {'made_by.json': '{"letter": "b"}'}).build()
    assert [path.name for path in tmp_path.iterdir()] == ['made']
