"""Vision encoders: normalised frames -> patch features."""

from mmgpt.models.vision_encoders.clip import ClipVision as ClipVision
from mmgpt.models.vision_encoders.convolutional import ConvVision as ConvVision
from mmgpt.models.vision_encoders.hugging_face import Dinov2Vision as Dinov2Vision
from mmgpt.models.vision_encoders.hugging_face import SiglipVision as SiglipVision
from mmgpt.models.vision_encoders.idefics import IdeficsVision as IdeficsVision
from mmgpt.models.vision_encoders.open_clip import OpenClipVision as OpenClipVision
