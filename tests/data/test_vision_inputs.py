import numpy as np
import pytest
import torch
from PIL import Image

from mmgpt.data.vision_inputs import ImageTransform, RandomAffine, RandomBrightness


def picture(width=12, height=12, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize('resize', ['squash', 'short_side_crop'])
@pytest.mark.parametrize('size', [(20, 12), (12, 31), (7, 7), (1, 50), (8, 8)])
def test_frames_are_square_uint8(resize, size):
    frame = ImageTransform(8, resize)(picture(*size))
    assert (frame.shape, frame.dtype, frame.is_contiguous()) == ((3, 8, 8), torch.uint8, True)


def test_a_picture_of_the_right_size_is_left_alone():
    original = picture(8, 8)
    np.testing.assert_array_equal(ImageTransform(8)(original).permute(1, 2, 0), original)


def test_squash_sees_the_whole_and_crop_the_middle():
    halves = np.zeros((10, 30, 3), np.uint8)
    halves[:, 10:20] = 255  # a white middle between black sides
    assert ImageTransform(10, 'short_side_crop')(Image.fromarray(halves)).min() == 255
    squashed = ImageTransform(10, interpolation='nearest')(Image.fromarray(halves))
    assert 0.2 < (squashed == 255).float().mean() < 0.5


def test_grey_pictures_become_rgb():
    frame = ImageTransform(4)(Image.fromarray(np.full((4, 4), 9, np.uint8)))
    assert (frame == 9).all()


@pytest.mark.parametrize('augment', [RandomAffine(20, 0.2, (0.8, 1.2), 10), RandomBrightness(0.3, 40)])
def test_augmentations_draw_from_their_generator_alone(augment):
    transform = ImageTransform(16)
    frames = [transform(picture(), [augment], np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[0], transform(picture()))
    with pytest.raises(ValueError, match='need a generator'):
        transform(picture(), [augment])


def test_an_augmentation_of_nothing_changes_nothing():
    original = picture(8, 8)
    rng = np.random.default_rng(0)
    for augment in (RandomAffine(), RandomBrightness()):
        np.testing.assert_array_equal(augment(original, rng), original)


class Fixed:
    """A generator that always draws the upper bound."""

    def uniform(self, low, high):
        return high


def test_affine_moves_turns_and_stretches_as_it_says():
    dot = np.zeros((31, 31, 3), np.uint8)
    dot[15, 20] = 255  # right of the centre

    def place(**options):
        values = np.array(RandomAffine(**options)(Image.fromarray(dot), Fixed())).sum(-1).astype(float)
        rows, columns = np.indices(values.shape)
        return (rows * values).sum() / values.sum(), (columns * values).sum() / values.sum()

    assert place(translate=2 / 31) == pytest.approx((17, 22), abs=0.2)
    assert place(degrees=90) == pytest.approx((20, 15), abs=0.2)  # clockwise
    assert place(scale=(2, 2)) == pytest.approx((15, 25), abs=0.2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=0), 'size must be a positive number'),
        (dict(size=8, resize='crop'), "resize must be 'squash' or 'short_side_crop', got 'crop'"),
        (dict(size=8, interpolation='cubic'), 'interpolation must be one of'),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ImageTransform(**options)
    with pytest.raises(ValueError, match='scale must be'):
        RandomAffine(scale=(1.2, 0.8))
