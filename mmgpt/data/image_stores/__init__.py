"""Where pictures lie: stores that give a picture by its key, registered in ``IMAGE_STORES``."""

from mmgpt.data.image_stores.base import BadBase64, ImageStore, OversizedImage, decode_base64, open_picture, upright_rgb
from mmgpt.data.image_stores.base64_json import JsonImages
from mmgpt.data.image_stores.folder import FolderImages
from mmgpt.data.image_stores.parquet import ParquetImages, write_parquet_images
from mmgpt.data.image_stores.table import TableImages
from mmgpt.data.image_stores.tar import TarImages
from mmgpt.data.image_stores.video import VideoFiles

__all__ = [
    'BadBase64',
    'FolderImages',
    'ImageStore',
    'JsonImages',
    'OversizedImage',
    'ParquetImages',
    'TableImages',
    'TarImages',
    'VideoFiles',
    'decode_base64',
    'open_picture',
    'upright_rgb',
    'write_parquet_images',
]
