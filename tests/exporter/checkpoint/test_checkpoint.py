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
from lorair.exporter.checkpoint.synth import random_pair
from lorair.exporter.model.config import SETTING1, TINY
from lorair.runtime.errors import CheckpointError, ConfigError

Files = tuple[Path, Path]


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
    pair = random_pair("setting1")
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


def _save_safetensors(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    path = path.with_suffix(".safetensors")
    save_file(tensors, path)
    return path


def _save_bare(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(tensors, path)
    return path


def _save_wrapped(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save({"params": {f"module.{k}": v for k, v in tensors.items()}, "iter": 7}, path)
    return path


def _save_parameters(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(OrderedDict((k, torch.nn.Parameter(v)) for k, v in tensors.items()), path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("save", [_save_safetensors, _save_bare, _save_wrapped, _save_parameters])
def test_every_format_gives_the_same_weights(
    save: Callable[[dict[str, torch.Tensor], Path], Path],
    dtype: torch.dtype,
    tiny_pair: Pair,
    tmp_path: Path,
) -> None:
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


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def _halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _scribbled(path: Path) -> None:
    path.write_bytes(b"not a checkpoint at all" * 100)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", [_truncated, _halved, _emptied, _scribbled, Path.unlink])
def test_damaged_files_are_named(
    damage: Callable[[Path], None], suffix: str, tiny_pair: Pair, tiny_files: Files, tmp_path: Path
) -> None:
    ir = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        shutil.copy(tiny_files[0], ir)
    else:
        save_file(dict(tiny_pair.ir), ir)
    damage(ir)
    with pytest.raises(CheckpointError, match=rf"weights\{suffix}: wanted .*, found .*; "):
        load_pair(ir, tiny_files[1])


def test_swapped_files_are_recognised(tiny_files: Files) -> None:
    ir, router = tiny_files
    with pytest.raises(CheckpointError, match="were --ir-weights and --router-weights swapped"):
        load_pair(router, ir)
    with pytest.raises(CheckpointError, match="were --ir-weights and --router-weights swapped"):
        load_pair(ir, ir)


Change = Callable[[dict[str, torch.Tensor]], None]


def _without_conv3(t: dict[str, torch.Tensor]) -> None:
    for name in [n for n in t if ".conv3." in n]:
        del t[name]


def _with_more(t: dict[str, torch.Tensor]) -> None:
    t["encoders.0.attention.weight"] = torch.zeros(1)


def _reshaped(t: dict[str, torch.Tensor]) -> None:
    t["ending.conv.bias"] = torch.zeros(4)


def _with_nan(t: dict[str, torch.Tensor]) -> None:
    t["downs.1.conv.bias"][3] = float("nan")


def _with_infinity(t: dict[str, torch.Tensor]) -> None:
    t["downs.1.conv.bias"][3] = float("inf")


def _whole_numbers(t: dict[str, torch.Tensor]) -> None:
    t["ending.conv.bias"] = torch.zeros(3, dtype=torch.int64)


def _without_intro(t: dict[str, torch.Tensor]) -> None:
    del t["intro.conv.weight"]


def _without_decoders(t: dict[str, torch.Tensor]) -> None:
    for name in [n for n in t if n.startswith("decoders.")]:
        del t[name]


def _flattened_intro(t: dict[str, torch.Tensor]) -> None:
    t["intro.conv.weight"] = t["intro.conv.weight"].flatten()


def _numbered_from_hell(t: dict[str, torch.Tensor]) -> None:
    t["encoders.999999999.x"] = torch.zeros(1)


def _numbered_oddly(t: dict[str, torch.Tensor]) -> None:
    t["encoders.0.blocks.².x"] = torch.zeros(1)


def _with_a_gap(t: dict[str, torch.Tensor]) -> None:
    for name in [n for n in t if n.startswith("encoders.1.")]:
        del t[name]


def _without_extent(t: dict[str, torch.Tensor]) -> None:
    t["intro.conv.weight"] = torch.zeros(16, 3, 0, 0)


def _beyond_float32(t: dict[str, torch.Tensor]) -> None:
    t["ending.conv.bias"] = torch.full((3,), 1e300, dtype=torch.float64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_conv3, r"encoders\.0\.blocks\.0\.conv3\..* and \d+ more missing"),
        (_with_more, r"encoders\.0\.attention\.weight unknown"),
        (_reshaped, r"wanted ending\.conv\.bias of shape \(3,\), found \(4,\); 1 differ"),
        (_numbered_from_hell, r"found encoders\.999999999"),
        (_numbered_oddly, r"found encoders\.0\.blocks\.²"),
        (_with_a_gap, r"without a gap, found downs|encoders\.3"),
        (_without_extent, r"intro\.conv\.weight with 4 dimensions"),
        (_beyond_float32, r"NaN or infinity in ending\.conv\.bias"),
        (_with_nan, r"NaN or infinity in downs\.1\.conv\.bias"),
        (_with_infinity, r"NaN or infinity in downs\.1\.conv\.bias"),
        (_whole_numbers, r"wanted floating point, found torch\.int64 in ending\.conv\.bias"),
        (_without_intro, r"wanted a tensor intro\.conv\.weight"),
        (_without_decoders, r"wanted tensors decoders\.0\.\*"),
        (_flattened_intro, r"wanted intro\.conv\.weight with 4 dimensions"),
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


def test_broken_position_table(tiny_pair: Pair, tiny_files: Files, tmp_path: Path) -> None:
    name = "clip_model.vision_tower.vision_model.embeddings.position_embedding.weight"
    tensors = dict(tiny_pair.router) | {name: torch.zeros(16, 128)}
    torch.save({"params": tensors}, tmp_path / "router.pth")
    with pytest.raises(CheckpointError, match="square number of patches"):
        load_pair(tiny_files[0], tmp_path / "router.pth")


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


def test_class_counts_must_match(tiny_pair: Pair, tiny_files: Files, tmp_path: Path) -> None:
    tensors = dict(tiny_pair.router)
    tensors |= {"cls_head.weight": torch.zeros(4, 384), "cls_head.bias": torch.zeros(4)}
    torch.save({"params": tensors}, tmp_path / "router.pth")
    with pytest.raises(ConfigError, match=r"wanted a router with 3 classes.*found 4 classes"):
        load_pair(tiny_files[0], tmp_path / "router.pth")


OPTIONS: dict[str, Any] = {
    "name": "tiny",
    "network_g": {
        "type": "PriorFtModelL",
        "width": 16,
        "enc_blk_nums": [1, 1, 1, 2],
        "middle_blk_num": 1,
        "dec_blk_nums": [1, 1, 1, 1],
        "train_size": [1, 3, 256, 256],
        "r": 4,
        "num_experts": 3,
        "top_k": 2,
    },
    "network_clip": {"cls_num": 3, "vision_tower": "some/clip"},
}


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
        "",
        "a: [",
        "- 1\n- 2",
        "name: x",
        "!!python/object:os.system {}",
        "network_g: [1]",
        "network_g: width",
        "network_g: {width: 16}\nnetwork_clip: 3",
        "[" * 100_000,
    ],
)
def test_yaml_that_is_none(text: str, tiny_files: Files, tmp_path: Path) -> None:
    (tmp_path / "o.yml").write_text(text)
    with pytest.raises(ConfigError, match=r"o\.yml"):
        load_pair(*tiny_files, yaml_path=tmp_path / "o.yml")


def test_yaml_bomb(tiny_files: Files, tmp_path: Path) -> None:
    """Ten levels of ten references: 10^10 values if anything writes them out."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)]
    (tmp_path / "bomb.yml").write_text("\n".join([*lines, "network_g: {width: *a10}"]))
    with pytest.raises(ConfigError, match=r"network_g\.width: wanted 16"):
        load_pair(*tiny_files, yaml_path=tmp_path / "bomb.yml")


def test_yaml_that_is_missing(tiny_files: Files, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read options file .*none\.yml"):
        load_pair(*tiny_files, yaml_path=tmp_path / "none.yml")
