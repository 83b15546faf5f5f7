import json
import pickle
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
import yaml
from safetensors.torch import save_file

from lorair.exporter.checkpoint.checkpoint import Pair, infer_restoration, infer_router, load_pair
from lorair.exporter.checkpoint.options_file import check_options
from lorair.exporter.checkpoint.synth import draw_pair, preset
from lorair.exporter.model.config import SETTING1, TINY
from lorair.runtime.errors import CheckpointError, ConfigError

Files = tuple[Path, Path]
Tensors = dict[str, torch.Tensor]


@golden.needs_golden
def test_every_released_tensor_has_its_place() -> None:
    shapes = json.loads((golden.FOLDER / "setting1_state_dict.json").read_text())
    ir, router = (
        {name: torch.empty(shape, device="meta") for name, shape in shapes[file].items()}
        for file in ("setting1_ir.pth", "setting1_router.pth")
    )
    assert infer_restoration(ir, Path("ir")) == SETTING1.restoration
    assert infer_router(router, Path("router")) == SETTING1.router
    from lorair.exporter.model import RestorationNet, Router

    with torch.device("meta"):
        net, routing = RestorationNet(SETTING1.restoration), Router(SETTING1.router, 1)
    net.load_state_dict(ir, strict=True, assign=True)
    routing.load_state_dict(router, strict=True, assign=True)


@golden.needs_golden
def test_synthetic_setting1_has_the_released_format() -> None:
    shapes = json.loads((golden.FOLDER / "setting1_state_dict.json").read_text())
    pair = draw_pair(preset("setting1"))
    for tensors, file, dtype in (
        (pair.ir, "setting1_ir.pth", torch.float32),
        (pair.router, "setting1_router.pth", torch.bfloat16),
    ):
        assert {name: list(t.shape) for name, t in tensors.items()} == shapes[file]
        assert {t.dtype for t in tensors.values()} == {dtype}


def test_configuration_follows_from_the_tensors(tiny_files: Files) -> None:
    ir, router = tiny_files
    pair = load_pair(ir, router)
    assert pair.config == replace(TINY, classes=("expert0", "expert1", "expert2"))


def _save_safetensors(tensors: Tensors, path: Path) -> Path:
    path = path.with_suffix(".safetensors")
    save_file(tensors, path)
    return path


def _saved(form: Callable[[Tensors], Any]) -> Callable[[Tensors, Path], Path]:
    def save(tensors: Tensors, path: Path) -> Path:
        torch.save(form(tensors), path)
        return path

    return save


SAVES = {
    "safetensors": _save_safetensors,
    "bare": _saved(lambda t: t),
    "wrapped": _saved(lambda t: {"params": {f"module.{k}": v for k, v in t.items()}, "iter": 7}),
    "parameters": _saved(lambda t: OrderedDict((k, torch.nn.Parameter(v)) for k, v in t.items())),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", SAVES)
def test_every_format_gives_the_same_weights(
    form: str, dtype: torch.dtype, tiny_pair: Pair, tmp_path: Path
) -> None:
    save = SAVES[form]
    ir = save({k: v.to(dtype) for k, v in tiny_pair.ir.items()}, tmp_path / "ir.pth")
    router = save({k: v.to(dtype) for k, v in tiny_pair.router.items()}, tmp_path / "router.pth")
    _, net = load_pair(ir, router).modules()
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, tiny_pair.ir[name].to(dtype).float())


class Exploit:
    """What a hostile pickle looks like."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def _save_before_zip(content: Any, file: Any) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (pickle.dump, "wanted a zip archive, .*might run code"),
        (_save_before_zip, "wanted a zip archive, .*might run code"),
        (torch.save, r"found (pathlib\._local|__builtin__|pathlib)\.\w+, which would run code"),
    ],
)
def test_a_checkpoint_is_never_executed(
    container: Callable[[Any, Any], None], words: str, tiny_files: Files, tmp_path: Path
) -> None:
    planted = tmp_path / "planted"
    with (tmp_path / "evil.pth").open("wb") as file:
        container({"params": Exploit(planted)}, file)
    with pytest.raises(CheckpointError, match=rf"evil\.pth.*{words}.*source you trust"):
        load_pair(tmp_path / "evil.pth", tiny_files[1])
    assert not planted.exists()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "scribbled": lambda path: path.write_bytes(b"not a checkpoint at all" * 100),
    "removed": Path.unlink,
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(
    damage: str, suffix: str, tiny_pair: Pair, tiny_files: Files, tmp_path: Path
) -> None:
    ir = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        shutil.copy(tiny_files[0], ir)
    else:
        save_file(dict(tiny_pair.ir), ir)
    DAMAGES[damage](ir)
    with pytest.raises(CheckpointError, match=rf"weights\{suffix}: wanted .*, found .*; "):
        load_pair(ir, tiny_files[1])


def test_swapped_files_are_recognised(tiny_files: Files) -> None:
    ir, router = tiny_files
    for first in (router, ir):
        with pytest.raises(CheckpointError, match="were --ir-weights and --router-weights swapped"):
            load_pair(first, ir)


Change = Callable[[Tensors], Any]


def _without(part: str) -> Change:
    return lambda t: [t.pop(name) for name in list(t) if part in name]


def _with(name: str, *shape: int, value: float = 0, dtype: Any = torch.float32) -> Change:
    return lambda t: t.update({name: torch.full(shape, value, dtype=dtype)})


def _one(value: float) -> Change:
    return lambda t: t["downs.1.conv.bias"].index_fill_(0, torch.tensor([3]), value)


INTRO = "intro.conv.weight"
ENDING = "ending.conv.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without(".conv3."), r"encoders\.0\.blocks\.0\.conv3\..* and \d+ more missing"),
        (_with("encoders.0.attention.weight", 1), r"encoders\.0\.attention\.weight unknown"),
        (_with(ENDING, 4), r"wanted ending\.conv\.bias of shape \(3,\), found \(4,\); 1 differ"),
        (_with("encoders.999999999.x", 1), r"found encoders\.999999999"),
        (_with("encoders.0.blocks.².x", 1), r"found encoders\.0\.blocks\.²"),
        (_without("encoders.1."), r"without a gap, found downs|encoders\.3"),
        (_with(INTRO, 16, 3, 0, 0), r"intro\.conv\.weight with 4 dimensions"),
        (_with(ENDING, 3, value=1e300, dtype=torch.float64), r"infinity in ending\.conv\.bias"),
        (_one(float("nan")), r"NaN or infinity in downs\.1\.conv\.bias"),
        (_one(float("inf")), r"NaN or infinity in downs\.1\.conv\.bias"),
        (
            _with(ENDING, 3, dtype=torch.int64),
            r"floating point, found torch\.int64 in ending\.conv",
        ),
        (_without(INTRO), r"wanted a tensor intro\.conv\.weight"),
        (_without("decoders."), r"wanted tensors decoders\.0\.\*"),
        (_with(INTRO, 16 * 27), r"wanted intro\.conv\.weight with 4 dimensions"),
    ],
)
def test_every_tensor_is_checked(
    change: Change, words: str, tiny_pair: Pair, tiny_files: Files, tmp_path: Path
) -> None:
    tensors = {name: tensor.clone() for name, tensor in tiny_pair.ir.items()}
    change(tensors)
    torch.save({"params": tensors}, tmp_path / "changed.pth")
    with pytest.raises(CheckpointError, match=words) as raised:
        load_pair(tmp_path / "changed.pth", tiny_files[1])
    assert "changed.pth" in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"params": {}},
        {"params": [1, 2]},
        [1, 2],
        torch.zeros(3),
        {"epoch": 3},
        {3: torch.zeros(3)},
        {"x": torch.zeros(3).to_sparse()},
        {"x": torch.empty(3, device="meta")},
    ],
)
def test_files_without_a_state_dict(content: Any, tiny_files: Files, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: wanted a state dict of plain tensors"):
        load_pair(tmp_path / "other.pth", tiny_files[1])


POSITIONS = "clip_model.vision_tower.vision_model.embeddings.position_embedding.weight"


def test_broken_position_table(tiny_pair: Pair, tiny_files: Files, tmp_path: Path) -> None:
    tensors = {**tiny_pair.router, POSITIONS: torch.zeros(16, 128)}
    torch.save({"params": tensors}, tmp_path / "router.pth")
    with pytest.raises(CheckpointError, match="square number of patches"):
        load_pair(tiny_files[0], tmp_path / "router.pth")


OPTIONS: dict[str, Any] = yaml.safe_load("""
name: tiny
network_g: {type: PriorFtModelL, width: 16, enc_blk_nums: [1, 1, 1, 2], middle_blk_num: 1,
            dec_blk_nums: [1, 1, 1, 1], train_size: [256, 256], r: 4, num_experts: 3, top_k: 2}
network_clip: {cls_num: 3, vision_tower: some/clip}
""")


def write_yaml(path: Path, section: str = "", **changes: Any) -> Path:
    options = {key: dict(v) if isinstance(v, dict) else v for key, v in OPTIONS.items()}
    if section:
        options[section] |= changes
    path.write_text(yaml.safe_dump(options))
    return path


def test_yaml_gives_top_k(tiny_files: Files, tmp_path: Path) -> None:
    options = write_yaml(tmp_path / "options.yml")
    assert load_pair(*tiny_files, yaml_path=options).config.top_k == 2
    assert load_pair(*tiny_files, yaml_path=options, top_k=3).config.top_k == 3
    assert load_pair(*tiny_files).config.top_k == 1


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("network_g", {"width": 32}, r"network_g\.width: wanted 16, .*found 32"),
        ("network_g", {"enc_blk_nums": [1, 1, 1, 28]}, r"network_g\.enc_blk_nums"),
        ("network_g", {"num_experts": 5}, r"network_g\.num_experts: wanted 3, .*found 5"),
        ("network_g", {"r": 8}, r"network_g\.r: wanted 4"),
        ("network_clip", {"cls_num": 4}, r"network_clip\.cls_num: wanted 3"),
        ("network_g", {"top_k": 4}, r"--top-k: wanted 1 to 3"),
        ("network_g", {"top_k": "two"}, r"network_g\.top_k: wanted a whole number"),
    ],
)
def test_yaml_that_contradicts_the_tensors(
    section: str, changes: dict[str, Any], words: str, tiny_files: Files, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_pair(*tiny_files, yaml_path=write_yaml(tmp_path / "o.yml", section, **changes))


@pytest.mark.parametrize(
    "text",
    [
        *("", "a: [", "- 1\n- 2", "name: x", "!!python/object:os.system {}", "network_g: [1]"),
        *("network_g: width", "network_g: {width: 16}\nnetwork_clip: 3", "[" * 100_000),
    ],
)
def test_yaml_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "o.yml").write_text(text)
    with pytest.raises(ConfigError, match=r"o\.yml"):
        check_options(tmp_path / "o.yml", TINY.restoration, TINY.router)


def test_yaml_that_is_missing(tiny_files: Files, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yml"):
        load_pair(*tiny_files, yaml_path=tmp_path / "missing.yml")


def test_yaml_bomb(tiny_files: Files, tmp_path: Path) -> None:
    """Ten levels of ten references: 10^10 values if anything writes them out."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)]
    (tmp_path / "bomb.yml").write_text("\n".join([*lines, "network_g: {width: *a10}"]))
    with pytest.raises(ConfigError, match=r"network_g\.width: wanted 16"):
        load_pair(*tiny_files, yaml_path=tmp_path / "bomb.yml")


@pytest.mark.parametrize("is_renamed", [False, True])
def test_the_pretraining_stage_is_a_network_of_one_class(
    is_renamed: bool, tiny_files: Files, tmp_path: Path
) -> None:
    """Without experts it is the whole network with every gate at 0."""
    whole = load_pair(*tiny_files)
    tensors = {k: t for k, t in whole.ir.items() if ".lora_" not in k}
    if is_renamed:
        tensors = {k.replace(".conv.", "."): t for k, t in tensors.items()}
    torch.save({"params": tensors}, tmp_path / "ir.pth")
    pair = load_pair(tmp_path / "ir.pth", tiny_files[1])
    assert pair.config.classes == ("all",)
    router, net = pair.modules()
    views = torch.rand(1, 5, 3, TINY.router.side, TINY.router.side)
    _, prior, gates = router(views)
    assert gates.tolist() == [[1.0]]
    assert torch.equal(prior, whole.modules().router(views)[1])
    image = torch.rand(1, 3, 16, 17)
    plain = whole.modules().restorer.restore(image, prior, torch.zeros(3))
    torch.testing.assert_close(net.restore(image, prior, gates[0]), plain)
