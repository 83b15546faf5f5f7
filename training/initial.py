"""Where training starts from: weights that learn fast."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorair.exporter.model import RestorationNet, Router
from lorair.exporter.model.config import LORA_SCALE
from lorair.exporter.model.lora_moe import LoRAMoEConv2d


def init_router(router: Router, views: npt.NDArray[np.float32]) -> Router:
    """A start from which a small tower learns in minutes.

    Weather is a matter of local statistics, which a transformer is slow to come upon. So
    the tower starts as a crude spectrum analyser, and training does the rest: patches in
    principal components of equal variance (fine structure as loud as colour), first layer
    their magnitudes, last layer the mean over all patches.

    Args:
        router: as PyTorch made it, with at least two layers; changed in place.
        views: (B, 5, 3, S, S), some of the training views.
    """
    # Any: PyTorch types a child as Tensor or Module.
    tower: Any = router.clip_model["vision_tower"]
    embeddings, layers = tower.vision_model.embeddings, tower.vision_model.encoder.layers
    with torch.no_grad():
        weight = embeddings.patch_embedding.weight
        weight.copy_(principal_components(views, weight.shape[-1], len(weight)))
        # One channel is a constant, against which LayerNorm leaves the rest their size.
        weight[-1] = 0
        nn.init.normal_(embeddings.position_embedding.weight, std=0.02)
        embeddings.position_embedding.weight[:, -1] = len(weight) ** 0.5
        for layer in layers:
            layer.self_attn.out_proj.weight.mul_(0.1)
            layer.mlp.fc2.weight.mul_(0.1)
        first, last = layers[0].mlp, layers[-1].self_attn
        eye = torch.eye(len(weight))
        first.fc1.weight[: 2 * len(weight)] = 1.5 * torch.cat([eye, -eye])
        first.fc2.weight[:, : 2 * len(weight)] = torch.cat([eye, eye], dim=1)
        extractor: Any = router.de_extractor.values()
        for linear in (tower.visual_projection, router.cls_head, *extractor):
            nn.init.normal_(linear.weight, std=1.5 * linear.in_features**-0.5)
        last.v_proj.weight.copy_(eye)
        last.out_proj.weight.copy_(2 * eye)
    return router


def principal_components(views: npt.NDArray[np.float32], patch: int, count: int) -> Tensor:
    """(count, 3, patch, patch): patches' strongest components, each to give variance 1."""
    columns = F.unfold(torch.from_numpy(views).flatten(0, 1), patch, stride=patch)
    columns = columns.transpose(1, 2).flatten(0, 1).double()
    values, vectors = torch.linalg.eigh(columns.T.cov())
    components: Tensor = vectors.flip(1)[:, :count] / values.flip(0)[:count].sqrt()
    return components.T.reshape(count, 3, patch, patch).float()


def init_experts(net: RestorationNet) -> RestorationNet:
    """LoRA's start: A as a linear layer's, B zero, so that a new expert changes nothing.

    The last expert, of clean pictures, is finished: see `leave_alone`.
    """
    for module in net.modules():
        if isinstance(module, LoRAMoEConv2d):
            for A in module.lora_A_list[:-1]:
                nn.init.kaiming_uniform_(A, a=5**0.5)
    leave_alone(net)
    return net


def leave_alone(net: RestorationNet) -> None:
    """Make the last expert cancel the last convolution, so that the input comes out.

    The network's output is the input plus that convolution, so without its weight and bias
    it is the input, to the bit. A holds the very weights: halved, the least of float16 would
    be rounded.

    Args:
        net: of rank 3 at least, else the expert's product cannot reach the whole weight;
            changed in place.
    """
    with torch.no_grad():
        weight = net.ending.conv.weight
        rows = weight.shape[0] * weight.shape[-1]
        A, B = net.ending.lora_A_list[-1].zero_(), net.ending.lora_B_list[-1].zero_()
        A[:rows] = -weight.reshape(rows, -1)
        B[:, :rows] = torch.eye(rows) / LORA_SCALE
        if net.ending.conv.bias is not None:
            net.ending.conv.bias.zero_()


def grow(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Start from the weights of a model with fewer blocks, experts or classes.

    They come first, and what is new stays as it was made: a new block or expert counts
    nothing at first. Changed in place.
    """
    state = module.state_dict()
    with torch.no_grad():
        for name, tensor in weights.items():
            state[name][: len(tensor)].copy_(tensor)
