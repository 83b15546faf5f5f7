"""Restore a camera's frames on an NVIDIA GPU, from one PyCUDA GPUArray into another.

pip install '.[rtx,pycuda]'
lorair-export build -o bundle --fp16 --engines tensorrt-rtx --kernels sm_89
python examples/pycuda_camera.py bundle frame1.jpg frame2.jpg ...

Pictures in files stand for the camera here: put your own iterator of frames in their place.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def restore_frames(
    restore: Callable[[Any, Any], Any], frames: Iterable[np.ndarray], stream: Any
) -> Iterator[np.ndarray]:
    """Yield each frame restored.

    Args:
        restore: from a GPUArray to another, such as `Restorer.restore_on_device`.
        frames: (H, W, 3) uint8; the GPU's arrays are made anew when the size changes.
        stream: a `pycuda.driver.Stream`, the one that `restore` works in.
    """
    from pycuda import driver, gpuarray

    shape = None
    for frame in frames:
        if frame.shape != shape:
            shape = frame.shape
            pinned = driver.pagelocked_empty(shape, np.uint8)
            source, target = (gpuarray.empty(shape, np.uint8) for _ in range(2))
        pinned[...] = frame
        source.set_async(pinned, stream)
        restore(source, target)  # your own kernels in this stream may come before and after
        yield target.get()


def main(bundle: str, *pictures: str) -> None:
    """Restore pictures one after the other, each into a file beside it."""
    import pycuda.autoprimaryctx
    import pycuda.driver

    from lorair import Bundle, Restorer
    from lorair.runtime.backends.tensorrt import open_tensorrt
    from lorair.runtime.gpu.cuda import from_pycuda

    stream = pycuda.driver.Stream()
    opened = Bundle.open(bundle)
    restorer = Restorer(opened, open_tensorrt(opened, "tensorrt-rtx", from_pycuda(stream)))
    frames = (np.asarray(Image.open(path).convert("RGB")) for path in pictures)
    restored = restore_frames(restorer.restore_on_device, frames, stream)
    for path, picture in zip(pictures, restored, strict=True):
        Image.fromarray(picture).save(Path(path).with_suffix(".restored.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
