"""The network once more, in plain NumPy float64, from its published description.

Independent of the project's code: loops where the project has one matrix product.
Slow; for small pictures.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Tensors = Mapping[str, npt.NDArray[np.floating]]

SCALE = 2.0


def merged_kernel(weight: Array, A: Array, B: Array, gates: Array, scale: float = SCALE) -> Array:
    """One expert after the other, each product reshaped as its memory lies."""
    out = weight.astype(np.float64).copy()
    for expert in range(len(gates)):
        product = np.zeros((B.shape[1], A.shape[2]))
        for rank in range(A.shape[1]):
            product += np.outer(B[expert, :, rank], A[expert, rank])
        out += scale * gates[expert] * product.reshape(weight.shape)
    return out


def conv2d(
    x: Array, weight: Array, bias: Array | None, stride: int = 1, pad: int = 0, groups: int = 1
) -> Array:
    """(C, H, W) -> (O, H', W'), kernel position by kernel position."""
    outputs, per_group, k, _ = weight.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    height = (padded.shape[1] - k) // stride + 1
    width = (padded.shape[2] - k) // stride + 1
    out = np.zeros((outputs, height, width))
    for o in range(outputs):
        first = o // (outputs // groups) * per_group
        for i in range(per_group):
            for dy in range(k):
                for dx in range(k):
                    window = padded[first + i, dy : dy + stride * height, dx : dx + stride * width]
                    out[o] += weight[o, i, dy, dx] * window[::stride, ::stride]
        if bias is not None:
            out[o] += bias[o]
    return out


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """(C, H, W) over C at each pixel."""
    mean = x.mean(0)
    variance = ((x - mean) ** 2).mean(0)
    normed = (x - mean) / np.sqrt(variance + 1e-6)
    return normed * weight[:, None, None] + bias[:, None, None]


def gelu(x: Array) -> Array:
    """The exact one."""
    return np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))))(x)


def top_k_gates(logits: Array, top_k: int) -> Array:
    """By sorting: softmax over the top_k largest, 0 elsewhere."""
    order = sorted(range(len(logits)), key=lambda e: -logits[e])[:top_k]
    weights = {e: math.exp(logits[e] - logits[order[0]]) for e in order}
    total = sum(weights.values())
    return np.array([weights.get(e, 0.0) / total for e in range(len(logits))])


class Restoration:
    """The restoration network over a state dict of NumPy arrays."""

    def __init__(self, tensors: Tensors, gates: Array) -> None:
        self.t = {name: value.astype(np.float64) for name, value in tensors.items()}
        self.gates = gates

    def conv(self, name: str, x: Array, stride: int = 1, pad: int = 0, groups: int = 1) -> Array:
        t = self.t
        kernel = merged_kernel(
            t[f"{name}.conv.weight"],
            t[f"{name}.lora_A_list"],
            t[f"{name}.lora_B_list"],
            self.gates,
        )
        return conv2d(x, kernel, t.get(f"{name}.conv.bias"), stride, pad, groups)

    def norm(self, name: str, x: Array) -> Array:
        return layer_norm(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def block(self, name: str, x: Array) -> Array:
        c = x.shape[0]
        u = self.conv(f"{name}.conv1", self.norm(f"{name}.norm1", x))
        u = self.conv(f"{name}.conv2", u, pad=1, groups=2 * c)
        u = u[:c] * u[c:]
        u = u * self.conv(f"{name}.sca.1", u.mean((1, 2), keepdims=True))
        y = x + self.t[f"{name}.beta"][0] * self.conv(f"{name}.conv3", u)
        v = self.conv(f"{name}.conv4", self.norm(f"{name}.norm2", y))
        return y + self.t[f"{name}.gamma"][0] * self.conv(f"{name}.conv5", v[:c] * v[c:])

    def modulate(self, name: str, x: Array, d: Array) -> Array:
        m = self.conv(f"{name}.conv2", gelu(self.conv(f"{name}.conv1", d)))
        m = self.conv(f"{name}.conv4", np.maximum(self.conv(f"{name}.conv3", m), 0))
        m = 1 / (1 + np.exp(-m))
        return x + self.t[f"{name}.beta"][0] * (self.norm(f"{name}.norm", x) * m)

    def stage(self, name: str, x: Array) -> Array:
        blocks = {
            key.split(".blocks.")[1].split(".")[0] for key in self.t if f"{name}.blocks." in key
        }
        for i in range(len(blocks)):
            x = self.block(f"{name}.blocks.{i}", x)
        return x

    def __call__(self, image: Array, prior: Array) -> Array:
        """(3, H, W) of any size -> (3, H, W), not clamped."""
        levels = len({key.split(".")[1] for key in self.t if key.startswith("encoders.")})
        height, width = image.shape[1:]
        stride = 2**levels
        padded = np.pad(image, ((0, 0), (0, -height % stride), (0, -width % stride)))
        d = gelu(self.conv("intro_de.0", prior[:, None, None]))
        d = gelu(self.conv("intro_de.2", d))
        x = self.conv("intro", padded, pad=1)
        skips = []
        for level in range(levels):
            x = self.stage(f"encoders.{level}", self.modulate(f"encoders.{level}", x, d))
            skips.append(x)
            x = self.conv(f"downs.{level}", x, stride=2)
        x = self.stage("middle_blks", self.modulate("middle_blks", x, d))
        for level in range(levels):
            x = pixel_shuffle(self.conv(f"ups.{level}.0", x)) + skips.pop()
            x = self.stage(f"decoders.{level}", x)
        return (self.conv("ending", x, pad=1) + padded)[:, :height, :width]


def pixel_shuffle(x: Array) -> Array:
    """(4c, H, W) -> (c, 2H, 2W)."""
    channels, height, width = x.shape
    out = np.zeros((channels // 4, 2 * height, 2 * width))
    for c in range(channels // 4):
        for dy in range(2):
            for dx in range(2):
                out[c, dy::2, dx::2] = x[4 * c + 2 * dy + dx]
    return out


def bicubic(image: npt.NDArray[np.uint8], side: int) -> Array:
    """Antialiased bicubic (a = -0.5) to side x side in float64; Pillow rounds to 8 bit twice."""
    rows = _resampling_matrix(image.shape[0], side)
    columns = _resampling_matrix(image.shape[1], side)
    narrow = np.einsum("ow,hwc->hoc", columns, image.astype(np.float64)).round().clip(0, 255)
    return np.einsum("oh,hwc->owc", rows, narrow).round().clip(0, 255)


def _resampling_matrix(size: int, side: int) -> Array:
    ratio = size / side
    stretch = max(ratio, 1.0)
    matrix = np.zeros((side, size))
    for out in range(side):
        centre = (out + 0.5) * ratio
        first = max(0, int(centre - 2 * stretch + 0.5))
        last = min(size, int(centre + 2 * stretch + 0.5))
        for i in range(first, last):
            matrix[out, i] = _cubic((i - centre + 0.5) / stretch)
    return matrix / matrix.sum(1, keepdims=True)


def _cubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0
