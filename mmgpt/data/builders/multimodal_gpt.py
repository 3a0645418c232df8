"""MultiModal-GPT's training data as it is published: which files belong to it, and where each comes from."""

from __future__ import annotations

from pathlib import Path

from mmgpt.registry import BUILDERS

LLAVA = 'hf download --repo-type dataset liuhaotian/LLaVA-Instruct-150K --local-dir {folder}/llava'
KARPATHY = 'from https://storage.googleapis.com/sfr-vision-language-research/datasets/, into {folder}/coco/annotations'
MINIGPT4 = 'hf download --repo-type dataset Vision-CAIR/cc_sbu_align --local-dir {folder}/cc_sbu_align'
FILES = {  # below the folder -> how to get it
    'llava/detail_23k.json': LLAVA,
    'llava/complex_reasoning_77k.json': LLAVA,
    'llava/conversation_58k.json': LLAVA,
    'coco': 'unpack the zips of https://cocodataset.org/#download, 2014 train and val, into {folder}/coco',
    'coco/train2017': 'unpack http://images.cocodataset.org/zips/train2017.zip in {folder}/coco',
    'coco/annotations/coco_karpathy_train.json': KARPATHY,
    'coco/annotations/coco_karpathy_val.json': KARPATHY,
    'aokvqa/annotations/aokvqa_v1p0_train.json': 'unpack '
    'https://prior-datasets.s3.us-east-2.amazonaws.com/aokvqa/aokvqa_v1p0.tar.gz in {folder}/aokvqa/annotations',
    'cc_sbu_align/filter_cap.json': MINIGPT4,
    'cc_sbu_align/image': MINIGPT4,
    'OCR_VQA/dataset.json': 'from https://ocr-vqa.github.io, into {folder}/OCR_VQA',
    'OCR_VQA/image': 'fetch the pictures with the script of https://ocr-vqa.github.io',
    'dolly/databricks-dolly-15k.jsonl': 'hf download --repo-type dataset databricks/databricks-dolly-15k '
    '--local-dir {folder}/dolly',
    'alpaca_gpt4/alpaca_gpt4_data.json': 'data/alpaca_gpt4_data.json of '
    'https://github.com/Instruction-Tuning-with-GPT-4/GPT-4-LLM, into {folder}/alpaca_gpt4',
    'baize/quora_chat_data.json': 'data/quora_chat_data.json of https://github.com/project-baize/baize-chatbot, '
    'into {folder}/baize',
}


@BUILDERS.register_module()
class MultiModalGPTFiles:
    """Stands where a config names the data of MultiModal-GPT (arXiv 2305.04790), which have to be fetched.

    It makes nothing. It knows the names of the files, so that a misspelt one is noticed before there are any, and says
    how to get each.

    Args:
        folder: with the files as the published code has them: ``llava/detail_23k.json``, ``coco/train2017``, …

    Example:
        >>> print(MultiModalGPTFiles('data').how_to_get('data/OCR_VQA/dataset.json'))
        from https://ocr-vqa.github.io, into data/OCR_VQA
    """

    def __init__(self, folder: str | Path = 'data') -> None:
        self.folder = Path(folder)

    def files(self) -> list[Path]:
        """All files and folders of pictures."""
        return [self.folder / name for name in FILES]

    def how_to_get(self, path: str | Path) -> str:
        """Where a file comes from, and where it belongs."""
        name = Path(path).relative_to(self.folder).as_posix()
        return FILES.get(name, 'it is no file of MultiModal-GPT').format(folder=self.folder.as_posix())

    def is_built(self) -> bool:
        """True: there is nothing to do. What is missing is told, with :meth:`how_to_get`, where it is read."""
        return True

    def build(self) -> None:
        """Does nothing."""
