from dataclasses import replace
from typing import Any

import pytest

from lorair.exporter.model.config import (
    SETTING1,
    SETTING1_CLASSES,
    TINY,
    ModelConfig,
    RestorationConfig,
    RouterConfig,
    default_classes,
)
from lorair.runtime.errors import ConfigError


def test_setting1_derives_what_the_paper_says() -> None:
    assert SETTING1.restoration.stride == 16
    assert (SETTING1.router.heads, SETTING1.router.tokens, SETTING1.router.prior) == (16, 577, 384)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("restoration", {"width": 24}, "multiple of 16"),
        ("restoration", {"r": 0}, "restoration.r"),
        ("restoration", {"enc_blk_nums": (1, 0, 1, 1)}, "blocks"),
        ("restoration", {"enc_blk_nums": (1, 1)}, "2 encoder and 4 decoder"),
        ("restoration", {"enc_blk_nums": (), "dec_blk_nums": ()}, "levels"),
        ("restoration", {"prior": 128}, "prior has 128 values, found 384"),
        ("router", {"hidden": 100}, "multiple of 64"),
        ("router", {"side": 57}, "multiple of 14"),
        ("router", {"projection": 767}, "multiple of 2"),
        ("router", {"layers": 0}, "router.layers"),
        ("router", {"num_classes": 4}, "wanted a router with 3 classes.* found 4 classes"),
        ("", {"top_k": 0}, r"--top-k: wanted 1 to 3.*found 0"),
        ("", {"top_k": 4}, r"--top-k: wanted 1 to 3.*found 4"),
        ("", {"classes": ("a", "b")}, "--classes: wanted 3 different names"),
        ("", {"classes": ("a", "b", "b")}, "--classes: wanted 3 different names"),
    ],
)
def test_the_configuration_is_checked(part: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(TINY, **({part: replace(getattr(TINY, part), **change)} if part else change))


def test_only_setting1_gets_setting1s_names() -> None:
    assert default_classes(3, setting1=True) == SETTING1_CLASSES
    assert default_classes(3, setting1=False) == ("expert0", "expert1", "expert2")


def test_config_is_plain_data() -> None:
    restored = TINY.to_dict()
    again = ModelConfig(
        RestorationConfig(**restored["restoration"]),
        RouterConfig(**restored["router"]),
        restored["top_k"],
        restored["classes"],
    )
    assert again == TINY
