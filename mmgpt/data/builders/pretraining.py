"""What OpenFlamingo was pretrained on: which folders belong to it, and where they come from."""

from __future__ import annotations

from pathlib import Path

from mmgpt.registry import BUILDERS

FOLDERS = {  # below the folder -> how to get it
    'laion': 'fetch pictures and captions of LAION-2B with img2dataset (--output_format webdataset), which writes '
    'KEY.jpg and KEY.txt into tars, to {folder}/laion',
    'mmc4': 'fetch the pages of https://github.com/allenai/mmc4 and their pictures, and put them together with '
    'python tools/dataset_converters/mmc4.py --out {folder}/mmc4',
}


@BUILDERS.register_module()
class PretrainingFiles:
    """Stands where a config names LAION-2B and Multimodal C4, which have to be fetched: it makes nothing.

    Args:
        folder: with the folders ``laion`` and ``mmc4`` of tars.

    Example:
        >>> [path.name for path in PretrainingFiles('data').files()]
        ['laion', 'mmc4']
    """

    def __init__(self, folder: str | Path = 'data') -> None:
        self.folder = Path(folder)

    def files(self) -> list[Path]:
        """The folders."""
        return [self.folder / name for name in FOLDERS]

    def how_to_get(self, path: str | Path) -> str:
        """Where a folder's tars come from."""
        name = Path(path).relative_to(self.folder).as_posix()
        return FOLDERS.get(name, 'it is no folder of the pretraining').format(folder=self.folder.as_posix())

    def is_built(self) -> bool:
        """True: there is nothing to do. What is missing is told, with :meth:`how_to_get`, where it is read."""
        return True

    def build(self) -> None:
        """Does nothing."""
