"""Small checkpoints, options and bundles made to hurt whoever reads them, and a few harmless ones.

`FILES` makes each by its name, whose ending says what it is; `answer` reads one. Run as a
script, it reads each in a process of its own and prints what that cost.
"""

import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from hostile import cost
from safetensors.torch import save

from lorair.exporter.checkpoint.checkpoint import check_tensors, infer_restoration, infer_router
from lorair.exporter.checkpoint.options_file import check_options
from lorair.exporter.checkpoint.weights_file import read_tensors
from lorair.exporter.model import RestorationNet, Router
from lorair.exporter.model.config import TINY
from lorair.runtime.bundle.engines import read_engines
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.kernels import read_index
from lorair.runtime.bundle.manifest import Bundle, content_digest
from lorair.runtime.errors import UserError

CHECKPOINTS = ("pickle", "pth", "safetensors", "yml")
BUNDLES = ("manifest", "graph", "record", "index")
FILES: dict[str, Callable[[], bytes]] = {}

_TOWER = "clip_model.vision_tower."
_VISION = f"{_TOWER}vision_model."
_SMALL = {
    "ir": {
        "intro.conv.weight": (16, 3, 3, 3),
        "intro.lora_A_list": (3, 12, 9),
        "intro_de.0.conv.weight": (8, 8, 1, 1),
        "encoders.0.blocks.0.x": (1,),
        "middle_blks.blocks.0.x": (1,),
        "decoders.0.blocks.0.x": (1,),
    },
    "router": {
        f"{_VISION}embeddings.patch_embedding.weight": (64, 3, 2, 2),
        f"{_VISION}embeddings.position_embedding.weight": (5, 64),
        f"{_VISION}encoder.layers.0.mlp.fc1.weight": (8, 64),
        f"{_TOWER}visual_projection.weight": (16, 64),
        "cls_head.weight": (3, 8),
    },
}


def answer(path: Path) -> str:
    """Read a file as its ending says; what that said. Raises what it should not have raised."""
    kind, folder = path.suffix[1:], path.parent
    try:
        if kind == "yml":
            return str(check_options(path, TINY.restoration, TINY.router))
        if kind in BUNDLES:
            return _open(path, folder / f"bundle-{kind}")
        if kind == "pickle":
            content, path = path.read_bytes(), path.with_suffix(".pth")
            path.write_bytes(_zip({"x/data.pkl": content}))
        return _check(path)
    except UserError as error:
        if isinstance(error.__cause__, MemoryError):
            raise
        return f"{type(error).__name__}: {error}"


def _check(path: Path) -> str:
    tensors = read_tensors(path)
    try:
        check_tensors(RestorationNet, tensors, path, infer_restoration(tensors, path))
    except UserError as error:
        if "were --ir-weights" not in str(error):
            raise
        check_tensors(Router, tensors, path, infer_router(tensors, path), 1)
    return f"{len(tensors)} tensors"


def _open(path: Path, folder: Path) -> str:
    """Put the file into a small bundle, whose manifest fits it if it can, and open that."""
    content, kind = path.read_bytes(), path.suffix[1:]
    if not folder.is_dir():
        make_bundle(folder)
    if kind == "graph":
        (folder / "router.onnx").write_bytes(content)
        write_manifest(folder)
    elif kind == "manifest":
        (folder / "manifest.json").write_bytes(_with_digest(content))
    elif kind == "index":
        (folder / "kernels").mkdir(exist_ok=True)
        (folder / "kernels" / "index.json").write_bytes(content)
        write_manifest(folder)
    else:
        (folder / "engines").mkdir(exist_ok=True)
        (folder / "engines" / "router-0.json").write_bytes(content)
    bundle = Bundle.open(folder)
    said = [bundle.manifest.precisions, bundle.content(bundle.restorer), bundle.weights_size]
    said += [engine.error or engine.record for engine in read_engines(bundle)]
    said += read_index(folder / "kernels") if kind == "index" else []
    return str(said)


def make_bundle(folder: Path) -> None:
    """A bundle in all but its graphs, which cannot run."""
    folder.mkdir(exist_ok=True)
    for graph in ("router", "restorer"):
        (folder / f"{graph}.onnx").write_bytes(_external(f"{graph}.onnx.data"))
        (folder / f"{graph}.onnx.data").write_bytes(b"weights")
    write_manifest(folder)


def write_manifest(folder: Path) -> None:
    """As it fits the folder's files."""
    files = {name: info.model_dump() for name, info in list_files(folder).items()}
    (folder / "manifest.json").write_bytes(_with_digest(_manifest(files=files)))


def _with_digest(content: bytes) -> bytes:
    """A mutation never hits the digest."""
    try:
        manifest = json.loads(content)
        if isinstance(manifest, dict) and len(content) < 2**20:
            return json.dumps(manifest | {"digest": content_digest(manifest)}).encode()
    except (ValueError, RecursionError):
        pass
    return content


def _add(name: str, content: bytes | Callable[[], bytes]) -> None:
    FILES[name] = content if callable(content) else lambda: content


# Checkpoints. A pickle's opcodes: ( mark, } dict, t tuple, u set items, q put, h get, R call.


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    rest = {"x/version": b"3\n", "x/byteorder": b"little"}
    rest |= {f"x/data/{i}": bytes(4096) for i in range(8)}
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in (members | rest).items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _saved(tensors: dict[str, torch.Tensor]) -> bytes:
    out = io.BytesIO()
    torch.save({"params": tensors}, out)
    return out.getvalue()


def _small(kind: str) -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape) for name, shape in _SMALL[kind].items()}


def _pickle_of(saved: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)


def _inflating() -> bytes:
    """A gigabyte of zeros as one member; a compressor that is flushed repeats itself."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first + again * 1023 + packer.flush(zlib.Z_FINISH)
    out = bytearray(_zip({"x/data.pkl": packed}))
    # Method and size, in the member's own header and in the directory's.
    for at, method, size in ((0, 8, 22), (out.index(b"PK\x01\x02"), 10, 24)):
        struct.pack_into("<H", out, at + method, 8)
        struct.pack_into("<I", out, at + size, 2**30)
    return bytes(out)


def _lying() -> bytes:
    """A member that has two gigabytes, in a file of one kilobyte."""
    out = bytearray(_zip({"x/data.pkl": b"\x80\x02}."}))
    struct.pack_into("<II", out, out.rindex(b"PK\x01\x02") + 20, 2**31, 2**31)
    return bytes(out)


def _header(tensors: object, data: bytes = b"") -> bytes:
    text = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + data


def _entry(shape: list[int], start: int, stop: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}


def _call(module: str, name: str, arguments: bytes) -> bytes:
    return b"\x80\x02c%s\n%s\n%sR." % (module.encode(), name.encode(), arguments)


for _kind in _SMALL:
    _add(f"{_kind}.pth", lambda kind=_kind: _saved(_small(kind)))  # type: ignore[misc]
    _add(f"{_kind}.pickle", lambda kind=_kind: _pickle_of(_saved(_small(kind))))  # type: ignore[misc]
    _add(f"{_kind}.safetensors", lambda kind=_kind: save(_small(kind)))  # type: ignore[misc]
_add("inflating.pth", _inflating)
_add("lying.pth", _lying)
_add("members.pth", lambda: _zip({f"x/data/{i}": b"" for i in range(8, 10_000)}))
_add("two.pth", lambda: _zip({"x/data.pkl": b"\x80\x02}.", "x/DATA.PKL": b"\x80\x02]."}))
_add("stretched.pth", lambda: _saved({"intro.conv.weight": torch.ones(1).expand(2**40)}))
_add(
    "names.pth",
    lambda: _saved({f"encoders.{i}.x": torch.ones(1) for i in range(2000)} | _small("ir")),
)
_add(
    "blocks.pth",
    lambda: _saved(
        {f"middle_blks.blocks.{i}.x": torch.ones(1) for i in range(2000)} | _small("ir")
    ),
)
_add("terminal.pth", lambda: _saved({"intro.conv.weight\x1b]0;owned\x07": torch.ones(1)}))
_add("key.pickle", b"\x80\x02})" + b"q\0h\0\x86" * 60 + b"K\1s.")
_add("deep_key.pickle", b"\x80\x02})" + b"\x85" * 240_000 + b"K\1s.")
_add("deep_list.pickle", b"\x80\x02" + b"](" * 300_000 + b"e" * 300_000 + b".")
_add("memo.pickle", b"\x80\x02}r\xff\xff\xff\x7f.")
_add("array.pickle", _call("builtins", "bytearray", b"\x8a\x05\0\0\0\0\x02\x85"))
_add("tensor.pickle", _call("torch", "Tensor", b"J\0\0\x01\0J\0\0\x01\0\x86"))
_add("storage.pickle", _call("torch.storage", "UntypedStorage", b"\x8a\x05\0\0\0\0\x02\x85"))
_add("system.pickle", _call("posix", "system", b"X\x02\0\0\0ls\x85"))
_add("header.safetensors", struct.pack("<Q", 2**63) + b"{}")
_add("nested.safetensors", _header(b"[" * 100_000))
_add("metadata.safetensors", _header({"__metadata__": {"a": "b" * 10**6}}))
_add("beyond.safetensors", _header({"a": _entry([2], 0, 2**62)}, bytes(8)))
_add("overlap.safetensors", _header({n: _entry([2], 0, 8) for n in "ab"}, bytes(8)))
_add("overflow.safetensors", _header({"a": _entry([2**32, 2**32, 0, 2**40], 0, 0)}))
_add(
    "levels.safetensors",
    lambda: _header({f"encoders.{i}.x": _entry([0], 0, 0) for i in range(10_000)}),
)
_add("odd_type.safetensors", _header({"a": _entry([8], 0, 8, "F8_E8M0")}, bytes(8)))

# Options.

_OPTIONS = (
    "network_g: {width: 16, enc_blk_nums: [1, 1, 1, 2], top_k: 2}\nnetwork_clip: {cls_num: 3}\n"
)


def _laughing(first: str, then: str) -> bytes:
    """Each level holds the one before twice."""
    lines = [f"a0: &a0 {first}"] + [f"a{i}: &a{i} {then % (i - 1, i - 1)}" for i in range(1, 26)]
    return "\n".join([*lines, "network_g: {width: *a25, top_k: *a25}"]).encode()


_add("authors.yml", _OPTIONS.encode())
_add("laughs.yml", _laughing("[x, x]", "[*a%d, *a%d]"))
_add("merges.yml", _laughing("{x: 1}", "{<<: [*a%d, *a%d]}"))
_add("nested.yml", b"[" * 60_000)
_add("keys.yml", b"? " * 30_000)
_add("digits.yml", b"network_g: {width: 0x" + b"f" * 50_000 + b"}")
_add("sixties.yml", b"network_g: {top_k: 1" + b":59" * 20_000 + b"}")
_add("itself.yml", b"network_g: &a {width: *a, enc_blk_nums: &b [*b]}")
_add("long.yml", b"a: [" + b"1, " * 100_000 + b"]")

# Bundles.


def _external(place: str) -> bytes:
    """The bytes of an ONNX graph that name its weights."""
    entry = b"\x0a\x08location\x12" + bytes([len(place)]) + place.encode()
    return b"j" + bytes([len(entry)]) + entry


def _manifest(**changes: Any) -> bytes:
    model = {"classes": ["a", "b", "c"], "experts": 3, "top_k": 1, "prior": 8}
    return json.dumps(
        {
            "schema_version": 1,
            "created_by": "lorair",
            "precision": "fp32",
            "model": model | {"clip_side": 56, "stride": 16},
            "files": {},
            "source": {"kind": "synthetic", "detail": ""},
        }
        | changes
    ).encode()


def _with_model(**changes: Any) -> bytes:
    manifest = json.loads(_manifest())
    return _manifest(model=manifest["model"] | changes)


def _valid_manifest() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        make_bundle(Path(folder))
        return Path(folder, "manifest.json").read_bytes()


_KERNEL = {
    "name": "a", "operator": "a", "sm": 89, "format": "cubin", "file": "a.cubin", "entry": "a",
    "arguments": [["x", "*fp32"]], "aligned": ["x"], "constants": {}, "block": [32, 1, 1],
    "shared": 0, "registers": 8, "spilled": 0,
}  # fmt: skip
_INFO = {"sha256": "0" * 64, "size": 0}

_add("valid.manifest", _valid_manifest)
_add("open.manifest", b"[" * 900_000)
_add("nested.manifest", lambda: _manifest(added=[]).replace(b"[]", b"[" * 900 + b"]" * 900))
_add("lists.manifest", lambda: _manifest(added=[]).replace(b"[]", b"[" + b"[]," * 330_000 + b"0]"))
_add("files.manifest", lambda: _manifest(files={f"{i}": _INFO for i in range(9_000)}))
_add("wrong.manifest", lambda: _manifest(files={f"{i}": 0 for i in range(40_000)}))
_add("name.manifest", lambda: _manifest(files={"a" * 900_000: _INFO}))
_add("folders.manifest", lambda: _manifest(files={"/".join("a" * 50_000): _INFO}))
_add("version.manifest", _manifest(schema_version=10**4000))
_add("stride.manifest", _with_model(stride=2**31))
_add("experts.manifest", _with_model(experts=2**31, classes=["\x1b[2J"] * 3))
_add("number.manifest", _with_model(clip_side=float("inf")))
_add("valid.graph", _external("router.onnx.data"))
_add("device.graph", _external("/dev/zero"))
_add("many.graph", _external("router.onnx.data") * 30_000)
_add("locations.graph", b"location" * 10**6)
_add("nested.record", b"[" * 900_000)
_add("digits.record", b'{"size": 1%s}' % (b"0" * 900_000))
_add("valid.index", json.dumps({"schema": 1, "kernels": [_KERNEL]}).encode())
_add("many.index", lambda: json.dumps({"schema": 1, "kernels": [_KERNEL] * 4_000}).encode())
_add("nested.index", b'{"schema":' * 10**5)


def seeds(kinds: tuple[str, ...], limit: int = 2**15) -> Iterator[tuple[str, bytes]]:
    """Small files of these kinds for a fuzzer: name, and content after the kind's number."""
    for name, make in FILES.items():
        kind = name.rpartition(".")[2]
        if kind in kinds and len(content := make()) <= limit:
            yield name, bytes([kinds.index(kind)]) + content


def warm_up(folder: Path) -> None:
    """Load what is loaded at the first use: it costs no later file anything."""
    for name in ("ir.pth", "router.safetensors", "authors.yml", "valid.manifest"):
        path = folder / name
        path.write_bytes(FILES[name]())
        answer(path)


def main() -> None:
    """Print what each file costs, as JSON lines; memory is above a child's that does nothing."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm_up(folder)
        idle = cost(folder, str)
        for file, make in FILES.items():
            path = folder / file
            path.write_bytes(make())
            found = cost(path, answer)
            above = float(str(found["megabytes"])) - float(str(idle["megabytes"]))
            print(json.dumps(found | {"name": file, "megabytes": above}), flush=True)


if __name__ == "__main__":
    main()
