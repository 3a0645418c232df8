"""A folder that a builder makes: whole or not at all, and known by the arguments that it was made with."""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

MADE_BY = 'made_by.json'  # the arguments that a folder was built with


class MadeFolder(ABC):
    """The part of a builder that is about its folder; a subclass writes the files and names its arguments.

    The folder is written beside its place and renamed when it is whole.

    Args:
        folder: where to write.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def is_built(self) -> bool:
        """Whether the folder was built with these arguments; a folder is never there in part."""
        made_by = self.folder / MADE_BY
        return made_by.is_file() and json.loads(made_by.read_text(encoding='utf-8')) == self._arguments()

    def build(self) -> None:
        """Writes the folder. Where another process has built the same one meanwhile, that one stays.

        Raises:
            ImportError: a library is missing; the message says what to install.
            FileExistsError: the folder is there already, perhaps built with other arguments.
        """
        if self.folder.exists():
            raise FileExistsError(
                f'{self.folder} is there already, and was not built by {self._arguments()}: delete it, or name another'
            )
        partial = self.folder.with_name(f'.{self.folder.name}.{os.getpid()}.part')
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            self._write(partial)
            write_json(partial / MADE_BY, self._arguments())
            partial.rename(self.folder)
        except OSError:
            if not self.is_built():  # by another process, meanwhile
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """What the files depend on, as JSON."""

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Writes all files into a folder that is there and empty."""


def write_json(path: Path, value: object) -> None:
    """Writes a value as one line of JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=None) + '\n', encoding='utf-8')
