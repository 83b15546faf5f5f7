"""LoRA-IR's two branches as PyTorch modules, named as in the released checkpoints."""

from lorair.exporter.model.restoration import RestorationNet
from lorair.exporter.model.router import Router

__all__ = ["RestorationNet", "Router"]
