"""Uploads an exported folder, or an adapter, to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from mmgpt.hub.io import check_folder
from mmgpt.hub.network import is_reachable
from mmgpt.models.sources import FILE as REFERENCES

IGNORED = ['training/*', '.*', '*/.*', 'evaluation/*']


def push_to_hub(
    folder: str | Path,
    repo: str,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> str:
    """Uploads a folder as it is, its model card included; ``training/`` stays here.

    Args:
        folder: W/hf, W/adapter, or a standalone checkpoint.
        repo: ``owner/name``; made where it does not exist.
        private: of a repository that is made. Default: what the owner's settings say.
        revision: the branch. Default: main.
        message: of the commit.
        token: of the hub. Default: the one that ``hf auth login`` stored.

    Returns:
        The address of the repository.

    Raises:
        OSError: the folder is no model or adapter, holds no weights, refers to towers that it does not hold, or the hub
            cannot be reached, or no longer.

    Example::

        push_to_hub('work_dirs/otter_demo/hf', 'me/otter-digits', private=True)
    """
    folder = Path(folder)
    if not (folder / 'adapter_config.json').is_file():
        check_folder(folder)
    if not any(folder.glob('*.safetensors')):
        raise OSError(
            f'{folder} holds no weights (*.safetensors). Of a checkpoint in shards make a model folder first: '
            f'python tools/convert.py consolidate {folder} --out DIR'
        )
    if (folder / REFERENCES).is_file():
        raise OSError(
            f'{folder} refers to towers on this machine and is of no use elsewhere: upload the hf folder of its run, '
            'or a checkpoint that train.py --standalone wrote'
        )
    if not is_reachable():
        raise OSError(f'{repo} cannot be uploaded: the Hugging Face hub cannot be reached; nothing was sent')
    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        if revision:
            api.create_branch(repo, branch=revision, exist_ok=True)
        return api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message=message or f'Upload {folder.name}',
            ignore_patterns=IGNORED,
        ).repo_url.url
    except HfHubHTTPError:  # an answer of the hub, and an OSError
        raise
    except (HTTPError, RuntimeError) as error:  # of the connection, or of one of the files on its way
        raise OSError(
            f'the upload to {repo} broke off ({type(error).__name__}: {error}): the same command sends what is not '
            'there yet'
        ) from error
