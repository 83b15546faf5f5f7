from dataclasses import replace

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
    ("change", "words"),
    [
        ({"width": 24}, "multiple of 16"),
        ({"r": 0}, "restoration.r"),
        ({"enc_blk_nums": (1, 0, 1, 1)}, "blocks"),
        ({"enc_blk_nums": (1, 1)}, "2 encoder and 4 decoder"),
        ({"enc_blk_nums": (), "dec_blk_nums": ()}, "levels"),
    ],
)
def test_restoration_config_is_checked(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(TINY.restoration, **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": 100}, "multiple of 64"),
        ({"side": 57}, "multiple of 14"),
        ({"projection": 767}, "multiple of 2"),
        ({"layers": 0}, "router.layers"),
    ],
)
def test_router_config_is_checked(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(TINY.router, **change)


@pytest.mark.parametrize("top_k", [0, 4, -1])
def test_top_k_is_between_one_and_the_experts(top_k: int) -> None:
    with pytest.raises(ConfigError, match=r"--top-k: wanted 1 to 3.*found"):
        replace(TINY, top_k=top_k)


def test_branches_must_belong_together() -> None:
    with pytest.raises(ConfigError, match=r"wanted a router with 3 classes.* found 4 classes"):
        replace(TINY, router=replace(TINY.router, num_classes=4))
    with pytest.raises(ConfigError, match="prior has 384 values, found 128"):
        replace(TINY, router=replace(TINY.router, projection=256))


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "b")])
def test_each_expert_has_one_name(classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--classes: wanted 3 different names"):
        replace(TINY, classes=classes)


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
