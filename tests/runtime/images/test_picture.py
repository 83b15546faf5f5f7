import numpy as np

from lorair.runtime import images


def test_two_pictures_side_by_side() -> None:
    before = images.Picture(
        np.full((20, 30, 3), 2570, np.uint16), metadata=images.Metadata(icc_profile=b"profile")
    )
    both = images.side_by_side(before, images.Picture(np.full((20, 30, 3), 200, np.uint8)))
    assert both.pixels.shape == (20, 68, 3)
    assert (both.pixels[:, :30] == 10).all()
    assert (both.pixels[:, 30:38] == 255).all()
    assert (both.pixels[:, 38:] == 200).all()
    assert both.metadata.icc_profile == b"profile"
