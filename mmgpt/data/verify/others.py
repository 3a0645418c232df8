"""Sources whose files the doctor does not know: what they give is looked at, a sample at a time."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mmgpt.data.sources import Broken, Source, Unusable
from mmgpt.data.verify.annotations import Annotations, Examined, sound, wrong_type
from mmgpt.data.verify.entries import Slip
from mmgpt.data.verify.findings import Fault


class SourceEntries:
    """The samples of a source with the face of :class:`~mmgpt.data.verify.entries.Entries`. They have no lines.

    Args:
        source: gives the samples.
        path: that stands for it in findings.
    """

    layout = 'source'
    keys = None
    slips: list[Slip] = []

    def __init__(self, source: Source, path: str | Path) -> None:
        self.source = source
        self.path = Path(path)

    def __len__(self) -> int:
        return len(self.source)

    def raw(self, number: int) -> bytes:
        """What tells the sample from others: its number, since its file is not known."""
        return str(number).encode()

    def line(self, number: int) -> None:
        """None."""


class SourceSamples(Annotations):
    """The samples of any source. Its pictures are decoded where the source itself does so, and else by its store.

    Args:
        source: gives the samples.
        path: that stands for it in findings.
    """

    def __init__(self, source: Source, path: str | Path) -> None:
        super().__init__(source.name, SourceEntries(source, path), source.images)
        self.source = source

    def examine(self, number: int) -> Examined:
        """See :meth:`Annotations.examine`."""
        id_of = getattr(self.source, 'id_of', f'{self.set}_{{}}'.format)  # a source from outside need not have it
        try:
            sample = self.source[number]
        except Broken as error:
            return Examined(
                sound(id_of(number)), faults=[Fault(error.kind, str(error), 'mend it, or take the sample out')]
            )
        except Unusable:
            return Examined(sound(id_of(number)))  # as the rules of its set want it
        except (ValueError, KeyError, OSError) as error:
            said = str(error.args[0]) if isinstance(error, KeyError) else str(error)
            return Examined(sound(id_of(number)), faults=[wrong_type(said)])
        frames = [frame for turn in sample.turns for medium in turn.media for frame in medium.frames]
        shown = [sound(frame) for frame in frames if not isinstance(frame, Image.Image)]
        return Examined(sound(sample.id), [sample], list(dict.fromkeys(shown)))
