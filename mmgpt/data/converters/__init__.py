"""From the files of published data sets to those of MIMIC-IT, and from any source to Hugging Face ``datasets``."""

from mmgpt.data.converters.base import Conversion
from mmgpt.data.converters.hub import write_dataset
from mmgpt.data.converters.mmc4 import write_pages
from mmgpt.data.converters.parquet import write_parquet
from mmgpt.data.converters.pictures import Encoder, Report
from mmgpt.data.converters.scenes import IndoorScenes, VisualStories
from mmgpt.data.converters.stills import LlavaInterleaved, SceneDifference, SpotTheDifference
from mmgpt.data.converters.videos import DenseCaptions, EgoNarrations, TvCaptions

__all__ = [
    'Conversion',
    'DenseCaptions',
    'EgoNarrations',
    'Encoder',
    'IndoorScenes',
    'LlavaInterleaved',
    'Report',
    'SceneDifference',
    'SpotTheDifference',
    'TvCaptions',
    'VisualStories',
    'write_dataset',
    'write_pages',
    'write_parquet',
]
