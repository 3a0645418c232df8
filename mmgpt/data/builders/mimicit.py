"""MIMIC-IT as it is published: which files belong to it, and where they come from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from mmgpt.registry import BUILDERS

SETS = {  # set -> the parts that its instructions come in
    'LA': ('LACONV', 'LACR_I2I', 'LACR_T2T', 'LADD'),
    'SD': ('SD',),
    'CGD': ('CGD',),
    'SN': ('SN',),
    'VST': ('VST',),
    'DC': ('DC',),
    'TVC': ('TVC',),
    'E4D': ('E4D',),
}


@BUILDERS.register_module()
class MimicItFiles:
    """Stands where a config names MIMIC-IT (arXiv 2306.05425), which has to be fetched: it makes nothing.

    It knows the names of the files, so that a misspelt one is noticed before there are any, and says how to get them.

    Args:
        folder: with a folder for each set: ``LA/LACR_I2I_instructions.json``, ``LA/LACR_I2I_train.json``,
            ``LA/LA.parquet`` (or ``LA/LA.json``).
        sets: of ``LA``, ``SD``, ``CGD``, ``SN``, ``VST``, ``DC``, ``TVC``, ``E4D``.

    Raises:
        ValueError: a set that MIMIC-IT does not have.

    Example:
        >>> [path.name for path in MimicItFiles('data/mimicit', sets=['SD']).files()]
        ['SD_instructions.json', 'SD_train.json', 'SD.parquet', 'SD.json']
    """

    def __init__(self, folder: str | Path = 'data/mimicit', sets: Sequence[str] = tuple(SETS)) -> None:
        if unknown := [name for name in sets if name not in SETS]:
            close = difflib.get_close_matches(unknown[0], SETS, n=1, cutoff=0.5)
            near = f'did you mean {close[0]!r}?' if close else f'its sets are {", ".join(SETS)}'
            raise ValueError(f'MIMIC-IT has no set {unknown[0]!r}; {near}')
        self.folder = Path(folder)
        self.sets = tuple(sets)

    def files(self) -> list[Path]:
        """All files of the sets; the pictures of a set may lie in either of two."""
        return [
            self.folder / name / file
            for name in self.sets
            for file in (
                *(f'{part}_{kind}.json' for part in SETS[name] for kind in ('instructions', 'train')),
                f'{name}.parquet',
                f'{name}.json',
            )
        ]

    def how_to_get(self, path: str | Path) -> str:
        """Where a file comes from, and where it belongs."""
        return (
            'MIMIC-IT is at https://huggingface.co/datasets/pufanyi/MIMICIT: put its files into '
            f'{self.folder.as_posix()}/SET/ as NAME_instructions.json, NAME_train.json and SET.parquet'
        )

    def is_built(self) -> bool:
        """True: there is nothing to do. What is missing is told, with :meth:`how_to_get`, where it is read."""
        return True

    def build(self) -> None:
        """Does nothing."""
