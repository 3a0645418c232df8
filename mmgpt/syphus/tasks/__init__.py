"""Tasks: what is said about an item, and how what comes back belongs together."""

from mmgpt.syphus.tasks.base import Annotations, Task
from mmgpt.syphus.tasks.captions import CaptionsAndBoxes, QuestionSet
from mmgpt.syphus.tasks.scenes import IndoorScenes, SceneDifference, SpotTheDifference
from mmgpt.syphus.tasks.video import DenseCaptions, EgocentricVideo, TVCaptions, VisualStorytelling

__all__ = [
    'Annotations',
    'CaptionsAndBoxes',
    'DenseCaptions',
    'EgocentricVideo',
    'IndoorScenes',
    'QuestionSet',
    'SceneDifference',
    'SpotTheDifference',
    'TVCaptions',
    'Task',
    'VisualStorytelling',
]
