"""What a conversion did with each tensor, and how it says that it cannot go on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FILE = 'conversion_report.json'


class ConversionError(ValueError):
    """A checkpoint that is damaged or does not fit the parts it is put together with; nothing was written."""


@dataclass
class Report:
    """What became of the tensors of a checkpoint.

    A conversion is strict: ``missing`` and ``unexpected`` stay empty in a report that was written, since a checkpoint
    with either is refused.
    """

    loaded: list[str] = field(default_factory=list)  # names in the checkpoint
    missing: list[str] = field(default_factory=list)  # names in the model
    unexpected: list[str] = field(default_factory=list)  # names in the checkpoint
    resized: list[dict[str, Any]] = field(default_factory=list)  # name, from, to, how
    ignored: list[str] = field(default_factory=list)  # second names of loaded tensors, and constants
    notes: list[str] = field(default_factory=list)  # what was assumed

    ok = True  # for the command line: a conversion that returns has succeeded

    def save(self, folder: Path) -> None:
        """Writes ``conversion_report.json``."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + '\n', encoding='utf-8')

    def __str__(self) -> str:
        counts = ', '.join(
            f'{len(getattr(self, name))} {name}' for name in ('loaded', 'missing', 'unexpected', 'resized', 'ignored')
        )
        rows = [f'{r["name"]}: {r["from"]} -> {r["to"]} rows ({r["how"]})' for r in self.resized]
        return '\n'.join([f'tensors: {counts}', *rows, *self.notes])
