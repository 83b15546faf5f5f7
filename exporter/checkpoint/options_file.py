"""The authors' YAML options: a second opinion on the configuration, and top_k."""

import reprlib
from pathlib import Path
from typing import Any

from lorair.exporter.model.config import RestorationConfig, RouterConfig
from lorair.runtime.errors import ConfigError

_SECTIONS = ("network_g", "network_clip")
_LARGEST = 64 * 2**10
"""Characters that are read at most; the authors' files have 4 kB."""
_BRACKETS = 500


def check_options(path: Path, restoration: RestorationConfig, router: RouterConfig) -> int | None:
    """Compare the options with what the tensors say, and return their top_k; None without one.

    The YAML file has `network_g` and, optionally, `network_clip`.

    Raises ConfigError: not such a file, or one that contradicts the tensors.
    """
    options = _read(path)
    network, clip = (options.get(section) or {} for section in _SECTIONS)
    names = ("width", "enc_blk_nums", "middle_blk_num", "dec_blk_nums", "r", "num_experts")
    actual = {f"network_g.{name}": getattr(restoration, name) for name in names}
    actual["network_clip.cls_num"] = router.num_classes
    for name, value in actual.items():
        section, _, key = name.partition(".")
        value = list(value) if isinstance(value, tuple) else value
        claimed = (network if section == "network_g" else clip).get(key, value)
        if claimed != value:
            raise ConfigError(
                f"{path} contradicts the weights: {name}",
                wanted=f"{value}, as the tensors have it",
                found=_shown(claimed),
                hint="give the options file that the weights were trained with",
            )
    top_k = network.get("top_k")
    if top_k is not None and not (type(top_k) is int and abs(top_k) < 2**31):
        raise ConfigError(
            f"{path}: network_g.top_k",
            wanted="a whole number",
            found=_shown(top_k),
            hint="put it right, or give --top-k without --config",
        )
    return top_k


def _read(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            """Leave merge keys (`<<`) alone: merged over and over they fill the memory."""

    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} characters")
        if text.count("[") + text.count("{") > _BRACKETS:  # its time grows with their square
            raise ValueError(f"more than {_BRACKETS} lists and mappings")
        content = yaml.load(text, Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read options file {path}",
            found=(error.strerror if isinstance(error, OSError) else None) or str(error),
            hint="check the file, or give --top-k without --config",
        ) from error
    sections = [content.get(s) for s in _SECTIONS] if isinstance(content, dict) else []
    if not any(sections) or not all(isinstance(s, dict | None) for s in sections):
        raise ConfigError(
            f"cannot use options file {path}",
            wanted="the authors' YAML, with a mapping network_g",
            found="something else",
            hint="give the file from the authors' options folder, or --top-k without --config",
        )
    return dict(content)


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes out no more than 4300 digits
        return "a huge number"
