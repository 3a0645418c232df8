"""Vision encoders: normalised frames -> patch features."""

from mmgpt.models.vision_encoders.clip import ClipVision as ClipVision
from mmgpt.models.vision_encoders.open_clip import OpenClipVision as OpenClipVision
