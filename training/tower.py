"""What the router's tower learns first: single views, with a label for every patch.

One label a picture teaches a transformer of this size nothing in an hour. But where the
weather is, and how visible, is known of every patch: two hundred labels a view.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lorair.exporter.model import Router

_PATCHES_SHARE = 2.0
"""Weight of the patches' loss against the picture's."""


class PatchReader(nn.Module):
    """A router's tower with two heads that are thrown away after this training.

    patches: reads each patch before the last layer, whose class token gathers them.
    picture: reads the view's embedding.
    """

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router = router
        # Any: PyTorch types a child as Tensor or Module.
        tower: Any = router.clip_model["vision_tower"]
        projection, hidden = tower.visual_projection.weight.shape
        classes = router.cls_head.out_features
        self.patches = nn.Linear(hidden, classes)
        self.picture = nn.Linear(projection, classes)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> logits of the patches (B, P, classes) and of the views (B, classes)."""
        tower: Any = self.router.clip_model["vision_tower"]
        model = tower.vision_model
        tokens = model.pre_layrnorm(model.embeddings(views))
        *layers, last = model.encoder.layers
        for layer in layers:
            tokens = layer(tokens)
        patches = self.patches(last.layer_norm1(tokens[:, 1:]))
        token = model.post_layernorm(last(tokens)[:, 0])
        return patches, self.picture(tower.visual_projection(token))


def patch_loss(patches: Tensor, picture: Tensor, visible: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of patches and views.

    Args:
        patches: (B, P, classes) logits; the last class is clean.
        picture: (B, classes) logits.
        visible: (B, P) in [0, 1]: the share of a patch's label that is the picture's class;
            the rest is clean.
        classes: (B,) of the pictures.
    """
    likelihood = patches.log_softmax(-1)
    own = likelihood.gather(2, classes[:, None, None].expand(-1, visible.shape[1], 1))[..., 0]
    of_patches = -(visible * own + (1 - visible) * likelihood[..., -1]).mean()
    of_picture = F.cross_entropy(picture, classes, label_smoothing=0.02)
    return _PATCHES_SHARE * of_patches + of_picture
