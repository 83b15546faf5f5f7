"""Before and after in one picture."""

import numpy as np

from lorair.runtime.images.picture import Metadata, Picture, to_uint8

GAP = 8
"""White pixels between the two."""


def side_by_side(before: Picture, after: Picture) -> Picture:
    """Two pictures of one size, 8 bit, without alpha, in the first one's colour profile."""
    height, width = before.pixels.shape[:2]
    both = np.full((height, 2 * width + GAP, 3), 255, np.uint8)
    both[:, :width] = to_uint8(before.pixels)
    both[:, width + GAP :] = to_uint8(after.pixels)
    profile = Metadata(icc_profile=before.metadata.icc_profile)
    return Picture(both, is_grey=before.is_grey, metadata=profile)
