"""The network's configuration: frozen, checked, inferred from the weights."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from lorair.runtime.errors import ConfigError

LORA_SCALE: Final = 2.0
"""alpha / rank; the released code fixes alpha = 2 * rank."""

HEAD_WIDTH: Final = 64
"""CLIP's attention heads are this wide, so their number follows from the hidden size."""

SETTING1_CLASSES: Final = ("snow", "rain", "raindrop")


MAX_LEVELS: Final = 10
"""A stride of 1024: larger than any tile."""

_MAX_BLOCKS: Final = 256
"""Blocks or layers of a branch; the released ones have 36 and 24."""

_MAX_WIDTH: Final = 65536
"""Of any layer."""


def _within(most: int, owner: str, **values: int) -> None:
    for name, value in values.items():
        if not 1 <= value <= most:
            raise ConfigError(f"{owner}.{name}", wanted=f"1 to {most}", found=str(value))


@dataclass(frozen=True)
class RestorationConfig:
    """The NAFNet U-net with experts. All counts are at least 1.

    width: channels at full resolution; each level doubles them.
    enc_blk_nums, dec_blk_nums: blocks a level, as many levels down as up.
    middle_blk_num: blocks at the lowest resolution.
    prior: length of the degradation prior (384 in the released model).
    r: rank of each expert.
    num_experts: experts in every convolution.
    """

    width: int
    enc_blk_nums: tuple[int, ...]
    middle_blk_num: int
    dec_blk_nums: tuple[int, ...]
    prior: int
    r: int
    num_experts: int

    def __post_init__(self) -> None:
        _within(_MAX_WIDTH, "restoration", width=self.width, prior=self.prior, r=self.r)
        _within(1024, "restoration", num_experts=self.num_experts)
        _within(MAX_LEVELS, "restoration", levels=len(self.enc_blk_nums))
        if len(self.enc_blk_nums) != len(self.dec_blk_nums):
            raise ConfigError(
                "restoration network",
                wanted="as many decoder as encoder levels",
                found=f"{len(self.enc_blk_nums)} encoder and {len(self.dec_blk_nums)} decoder",
            )
        blocks = (*self.enc_blk_nums, self.middle_blk_num, *self.dec_blk_nums)
        for number in blocks:
            _within(_MAX_BLOCKS, "restoration", blocks=number)
        _within(_MAX_BLOCKS, "restoration", all_blocks=sum(blocks))
        if self.width % 16:
            raise ConfigError("restoration.width", wanted="a multiple of 16", found=str(self.width))

    @property
    def stride(self) -> int:
        """Height and width must be multiples of this."""
        return int(2 ** len(self.enc_blk_nums))


@dataclass(frozen=True)
class RouterConfig:
    """The CLIP vision tower with extractor and head. All counts are at least 1.

    hidden: width of the tower, a multiple of 64 (the width of a head).
    layers, mlp: transformer layers and the width of their MLP.
    side, patch: sides of a view and of a patch in pixels; side is a multiple of patch.
    projection: length of a view's embedding; the prior is half as long.
    num_classes: degradations it tells apart.
    """

    hidden: int
    layers: int
    mlp: int
    side: int
    patch: int
    projection: int
    num_classes: int

    def __post_init__(self) -> None:
        _within(_MAX_WIDTH, "router", **asdict(self))
        _within(_MAX_BLOCKS, "router", layers=self.layers)
        _within(1024, "router", side=self.side, num_classes=self.num_classes)
        for name, value, unit in (
            ("hidden", self.hidden, HEAD_WIDTH),
            ("side", self.side, self.patch),
            ("projection", self.projection, 2),
        ):
            if value % unit:
                raise ConfigError(
                    f"router.{name}", wanted=f"a multiple of {unit}", found=str(value)
                )

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.hidden // HEAD_WIDTH

    @property
    def prior(self) -> int:
        """Length of the degradation prior."""
        return self.projection // 2

    @property
    def tokens(self) -> int:
        """Patches of a view, and the class token."""
        return (self.side // self.patch) ** 2 + 1


@dataclass(frozen=True)
class ModelConfig:
    """Both branches and how they are joined.

    top_k: experts that get a gate, 1 to num_experts.
    classes: a name for each expert, in order.
    """

    restoration: RestorationConfig
    router: RouterConfig
    top_k: int
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        experts = self.restoration.num_experts
        prior, classes = self.restoration.prior, self.router.num_classes
        if classes != experts:
            wanted = f"a router with {experts} classes, one for each expert"
            raise _no_pair(wanted, f"{classes} classes")
        if self.router.prior != prior:
            raise _no_pair(f"a router whose prior has {prior} values", f"{self.router.prior}")
        if not 1 <= self.top_k <= experts:
            raise ConfigError(
                "--top-k",
                wanted=f"1 to {experts}, the number of experts",
                found=str(self.top_k),
                hint="the released model was trained with 1",
            )
        names = {name for name in self.classes if name.isprintable() and 1 <= len(name) <= 100}
        if len(self.classes) != experts or len(names) != experts:
            raise ConfigError(
                "--classes",
                wanted=f"{experts} different names, one for each expert",
                found=", ".join(self.classes),
                hint="separate them by commas",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values, for manifests and `--json`."""
        return asdict(self)


def _no_pair(wanted: str, found: str) -> ConfigError:
    what = "the two checkpoints do not belong together"
    hint = "give the pair that was trained together"
    return ConfigError(what, wanted=wanted, found=found, hint=hint)


def default_classes(experts: int, *, setting1: bool) -> tuple[str, ...]:
    """Return names for the experts where the user gave none.

    Setting I's names are used only for a network of exactly its shape: a wrong name
    misleads more than a plain number.
    """
    if setting1 and experts == len(SETTING1_CLASSES):
        return SETTING1_CLASSES
    return tuple(f"expert{i}" for i in range(experts))


SETTING1: Final = ModelConfig(
    restoration=RestorationConfig(
        width=64,
        enc_blk_nums=(1, 1, 1, 28),
        middle_blk_num=1,
        dec_blk_nums=(1, 1, 1, 1),
        prior=384,
        r=8,
        num_experts=3,
    ),
    router=RouterConfig(
        hidden=1024, layers=24, mlp=4096, side=336, patch=14, projection=768, num_classes=3
    ),
    top_k=1,
    classes=SETTING1_CLASSES,
)

TINY: Final = replace(
    SETTING1,
    restoration=replace(SETTING1.restoration, width=16, enc_blk_nums=(1, 1, 1, 2), r=4),
    router=replace(SETTING1.router, hidden=128, layers=2, mlp=256, side=56),
)

PRESETS: Final = {"setting1": SETTING1, "tiny": TINY}
