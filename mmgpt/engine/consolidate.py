"""From a sharded checkpoint to a Hugging Face folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mmgpt.engine.checkpoints import CheckpointError, verify_checkpoint
from mmgpt.engine.shards_on_disk import FROZEN, NEW_TOKENS, SHARDS, is_sharded, read_model, stored_sizes
from mmgpt.hub.convert.files import new_path, require_absent
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.flamingo import Flamingo
from mmgpt.models.misfits import shown
from mmgpt.models.new_tokens import train_new_rows


def consolidate(folder: str | Path, out: str | Path) -> Report:
    """Writes the model of a sharded checkpoint as one folder that the Auto classes load.

    An adapter stays beside the weights, as in a checkpoint that was written whole.

    Args:
        folder: ``checkpoints/iter_…`` of a run with ``CheckpointHook(sharded=True)``.
        out: the folder to write; it is whole or not there.

    Returns:
        the tensors that were read.

    Raises:
        ConversionError: the checkpoint is damaged, or no sharded one.
        FileExistsError: ``out`` exists.
    """
    require_absent(out)
    folder = Path(folder)
    if not is_sharded(folder):
        raise ConversionError(
            f'{folder} has no {SHARDS}: it is no sharded checkpoint, or a Hugging Face folder already'
        )
    if faults := verify_checkpoint(folder):
        raise ConversionError(f'{folder} is damaged:{shown(faults)}')
    model = Flamingo(FlamingoConfig.from_pretrained(folder))
    if (folder / NEW_TOKENS).is_file():
        train_new_rows(model, json.loads((folder / NEW_TOKENS).read_text()))
    sizes = {
        name: size for part in (SHARDS, FROZEN) if (folder / part).is_dir() for name, size in _model(folder / part)
    }
    for name, parameter in model.named_parameters():
        if name in sizes:
            parameter.data = parameter.data.to(sizes[name])
    try:
        read_model(model, folder, alone=True)
    except CheckpointError as error:
        raise ConversionError(str(error)) from error
    report = Report(loaded=sorted(sizes))
    with new_path(out) as target:
        target.mkdir()
        for path in sorted(folder.iterdir()):
            if path.is_file():
                shutil.copyfile(path, target / path.name)
        model.save_pretrained(target)
        report.save(target)
    return report


def _model(folder: Path) -> list[tuple[str, object]]:
    """Name and dtype of the model's own tensors in a folder of shards."""
    stored = stored_sizes(folder).items()
    return [(name.removeprefix('model.'), dtype) for name, (_, dtype) in stored if name.startswith('model.')]
