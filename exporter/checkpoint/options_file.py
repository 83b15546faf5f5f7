"""The authors' YAML options: a second opinion on the configuration, and top_k."""

import reprlib
from pathlib import Path
from typing import Any

from lorair.exporter.model.config import RestorationConfig, RouterConfig
from lorair.runtime.errors import ConfigError

_SECTIONS = ("network_g", "network_clip")
_LARGEST = 64 * 2**10
"""Characters that are read at most; the authors' files have 4 kB."""


def check_options(path: Path, restoration: RestorationConfig, router: RouterConfig) -> int | None:
    """Compare the options with what the tensors say.

    Args:
        path: a YAML file with `network_g` and, optionally, `network_clip`.
        restoration: inferred from the tensors.
        router: inferred from the tensors.

    Returns:
        The options' top_k, None if they have none.

    Raises:
        ConfigError: not such a file, or one that contradicts the tensors.
    """
    options = _read(path)
    network, clip = (options.get(section) or {} for section in _SECTIONS)
    actual = {
        "network_g.width": restoration.width,
        "network_g.enc_blk_nums": list(restoration.enc_blk_nums),
        "network_g.middle_blk_num": restoration.middle_blk_num,
        "network_g.dec_blk_nums": list(restoration.dec_blk_nums),
        "network_g.r": restoration.r,
        "network_g.num_experts": restoration.num_experts,
        "network_clip.cls_num": router.num_classes,
    }
    for name, value in actual.items():
        section, _, key = name.partition(".")
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
        content = yaml.load(text, Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read options file {path}",
            found=str(error),
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
