from __future__ import annotations

import numpy as np

from clan.data.views import camera_generator, random_camera


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_the_same_place_gives_the_same_picture_and_another_another() -> None:
    image = picture()
    views = [random_camera(image, 1.0, camera_generator(0, 5, slot, 0)) for slot in (0, 0, 1)]
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    other = random_camera(image, 1.0, camera_generator(0, 5, 0, 1))
    assert not np.array_equal(views[0], other)


def test_all_parts_happen_and_stay_within_their_ranges() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    gains, noise = [], []
    for step in range(200):
        view = random_camera(grey, 1.0, camera_generator(0, step, 0, 0)).astype(float)
        gains.append(view.mean(axis=(0, 1)) / 128)
        noise.append(view.std(axis=(0, 1)).max())
    gains, noise = np.array(gains), np.array(noise)
    assert np.mean(noise == 0) > 0.3
    assert 5 < noise.max() < 13
    # gain and gamma: 128 is 0.502 of the range, to the power of 0.6 to 1.65
    assert gains.min() > 0.502**0.65 / 1.36
    assert gains.max() <= min(255 / 128, 1.36 * 0.502**-0.4)
    ratio = gains.max(axis=1) / gains.min(axis=1)
    assert ratio.max() > 1.3
    edge = np.zeros((16, 16, 3), np.uint8)
    edge[:, 8:] = 255
    widths = [
        len(np.unique(random_camera(edge, 0.5, camera_generator(0, s, 0, 0))[8, :, 0]))
        for s in range(100)
    ]
    assert min(widths) == 2
    assert max(widths) > 3


def test_little_strength_changes_little() -> None:
    image = picture()
    view = random_camera(image, 0.01, camera_generator(0, 1, 0, 0)).astype(int)
    assert 0 < np.abs(view - image).mean() < 2
