"""The fifty most likely mistakes and what is said of each: `pytest -s` prints the table."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image

from lorair import Restorer
from lorair.runtime.errors import UserError

PIXELS = np.zeros((32, 48, 3), np.uint8)
PIXELS[0, 0] = 255

WEIGHTS = "--ir-weights {ir} --router-weights {router}"
OUR_OWN = "check the path, or take lorair's own, which is called default"
NO_BUNDLE = f"no bundle at nowhere: wanted a folder with manifest.json, found nothing; {OUR_OWN}"
PICTURE = "wanted a picture (PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC)"
ENDINGS = ".png, .jpg, .jpeg, .webp, .tiff, .tif, .bmp, .avif"

MISTAKES = {
    # The picture.
    "lorair-run infer": "Missing argument 'INPUT...'",
    "lorair-run infer nowhere.jpg":
        "cannot read nowhere.jpg: wanted a picture, found no such file; check the path",
    "lorair-run infer '*.jpg'":
        "cannot read *.jpg: wanted a picture, found no such file; check the path",
    "lorair-run infer clip.mp4":
        "cannot read clip.mp4: wanted a picture, found a video; lorair-run video restores it",
    "lorair-run infer DSC_1.NEF":
        "cannot read DSC_1.NEF: wanted a picture, found a camera's raw file; develop it, and "
        "restore the TIFF or JPEG",
    "lorair-run infer notes.txt":
        f"cannot read notes.txt: {PICTURE}, found 23 bytes of something else; check the file or "
        "export it again",
    "lorair-run infer cut.jpg":
        f"cannot read cut.jpg: {PICTURE}, found damaged data (Truncated File Read); check the "
        "file or export it again",
    "lorair-run infer empty.png":
        f"cannot read empty.png: {PICTURE}, found an empty file; check the file or export it again",
    "lorair-run infer photo.jxl":
        f"cannot read photo.jxl: {PICTURE}, found a .jxl file; export it as PNG or TIFF first",
    "lorair-run infer folder":
        "nothing to restore in folder: wanted pictures, found none; check the path and --glob",
    "lorair-run infer photo.jpg --max-pixels 1000":
        "cannot restore photo.jpg: wanted at most 0.001 megapixels, found 48x32, "
        "0.001536 megapixels; raise the limit with --max-pixels if the file can be trusted",
    # The result.
    "lorair-run infer photo.jpg -o photo.jpg":
        "cannot restore photo.jpg: wanted an output of its own, and never an input, found "
        "photo.jpg, which is an input; choose another with -o, or leave one of them out",
    "lorair-run infer photo.jpg photo.jpg":
        "cannot restore photo.jpg: wanted an output of its own, and never an input, found "
        "photo.jpg named twice; choose another with -o, or leave one of them out",
    "lorair-run infer photo.jpg other.jpg -o one.png":
        "--output: wanted a folder, found a picture's name, one.png; several pictures need a "
        "folder",
    "lorair-run infer photo.jpg -o out.heic":
        f"cannot write out.heic: wanted one of the endings {ENDINGS}, found .heic; name the "
        "output so",
    "lorair-run infer photo.jpg -o notes.txt/out.png":
        "cannot write notes.txt/out.png: wanted a folder, found notes.txt, a file; choose another "
        "place with -o",
    "lorair-run infer photo.jpg --format heic":
        "--format: wanted one of png, jpg, jpeg, webp, tiff, tif, bmp, avif, same, found heic",
    "lorair-run infer photo.jpg --quality 80":
        "--quality: wanted a lossy format (jpg, webp, avif), found .png, which loses nothing; "
        "leave it out, or choose --format jpg",
    "lorair-run infer photo.jpg --format jpg --quality 900":
        "--quality: wanted 1 to 100, found 900",
    "lorair-run infer photo.jpg --report new/report.json":
        "cannot write new/report.json: wanted a folder that is there, found no folder new; check "
        "the path, or make the folder",
    "lorair-run infer photo.jpg --report photo.jpg":
        "cannot write photo.jpg: wanted a file of its own, found an input or output of this run; "
        "choose another name",
    # How it is restored.
    "lorair-run infer photo.jpg --expert fog":
        "--expert: wanted one of snow, rain, raindrop, clean, found fog; these are the bundle's "
        "classes",
    "lorair-run infer photo.jpg --gates rain=0.5":
        "--gates: wanted shares that sum to 1, found 0.5; divide each by the sum",
    "lorair-run infer photo.jpg --gates rain":
        "--gates: wanted NAME=SHARE,... with each name once and shares of 0 to 1, found rain; "
        "such as rain=0.7,snow=0.3",
    "lorair-run infer photo.jpg --expert rain --gates rain=1":
        "--expert: wanted no --gates beside it, found rain=1; leave one of them out",
    "lorair-run infer photo.jpg --strength 50":
        "Invalid value for '--strength': Input should be less than or equal to 1",
    "lorair-run infer photo.jpg --tile 100":
        "--tile: wanted auto, off, or a side of at least 128 pixels, found 100; auto takes tiles "
        "where memory asks for them",
    "lorair-run infer photo.jpg --route nowhere.json":
        "cannot read the route nowhere.json: wanted a file as `lorair-run route` writes it, "
        "version 1, found no such file; make it again with `lorair-run route`",
    "lorair-run infer photo.jpg --threads 0":
        "threads: wanted 1 to 1024, found 0; leave it out for the default",
    "lorair-run infer photo.jpg --device cuda": "No such option: --device",
    "lorair-run restore photo.jpg": "No such command 'restore'",
    # The bundle and the backend.
    "lorair-run infer photo.jpg --bundle nowhere": NO_BUNDLE,
    "lorair-run infer photo.jpg --bundle folder":
        "damaged bundle folder: wanted manifest.json, found none; build it again with "
        "`lorair-export build`",
    "lorair-run infer photo.jpg --bundle {ir}":
        f"no bundle at {{ir}}: wanted a folder with manifest.json, found a file; {OUR_OWN}",
    "lorair-run infer photo.jpg --backend cuda":
        "no backend 'cuda': wanted auto or one of tensorrt-rtx, tensorrt, onnxruntime-cuda, "
        "onnxruntime-rtx, webgpu, openvino-gpu, openvino-npu, openvino-bf16, openvino, "
        "onnxruntime, found cuda; leave --backend out for the best one installed",
    "lorair-run infer photo.jpg --backend openvino-gpu":
        "cannot use the backend openvino-gpu: found no GPU among OpenVINO's devices "
        "(CPU); use --backend openvino",
    "lorair-run warm nowhere": NO_BUNDLE,
    # Video and server.
    "lorair-run video photo.jpg":
        "cannot read photo.jpg: wanted a video, found a picture; lorair-run infer restores it",
    "lorair-run video nowhere.mp4":
        "cannot read nowhere.mp4: wanted a video, found no such file; check the file",
    "lorair-run video clip.mp4":
        "cannot read clip.mp4: wanted a video, found something else (Invalid data found when "
        "processing input); check the file",
    "lorair-run video clip.mp4 -o clip.gif":
        "cannot write clip.gif: wanted one of the endings .mp4, .mkv, .mov, .webm, .avi, found "
        ".gif; name the output so",
    "lorair-run serve --host 0.0.0.0":
        "--host: wanted 127.0.0.1, or a token for whoever else may come, found 0.0.0.0 without "
        "one; set LORAIR_TOKEN; `openssl rand -hex 16` makes one",
    "lorair-run serve --bundle nowhere": NO_BUNDLE,
    # The exporter.
    "lorair-export build --ir-weights nowhere.pth --router-weights {router} -o bundle":
        "cannot read checkpoint nowhere.pth: wanted a .pth or .safetensors file, found no such "
        "file; check the path",
    "lorair-export build --ir-weights {ir} -o bundle":
        "build: wanted both --ir-weights and --router-weights, found only one of them; give both, "
        "or neither for the default model",
    "lorair-export build --ir-weights notes.txt --router-weights {router} -o bundle":
        "refused checkpoint notes.txt: wanted a zip archive, as torch.save writes it, found text; "
        "get it from a source you trust, saved by PyTorch 1.6 or newer",
    "lorair-export build --ir-weights {router} --router-weights {ir} -o bundle":
        "{router} is not a restoration checkpoint: wanted the restoration network's tensors "
        "(intro.*, encoders.*, …), found a router's tensors (clip_model.*, de_extractor.*, "
        "cls_head.*); were --ir-weights and --router-weights swapped?",
    f"lorair-export build {WEIGHTS} --classes snow,rain -o bundle":
        "--classes: wanted 3 different names, one for each expert, found snow, rain; separate "
        "them by commas",
    f"lorair-export build {WEIGHTS} --top-k 9 -o bundle":
        "--top-k: wanted 1 to 3, the number of experts, found 9; the released model was trained "
        "with 1",
    "lorair-export build -o full":
        "cannot write the bundle full: wanted a new or empty folder, or a bundle to replace, "
        "found a folder with other things in it; choose another place with -o",
    # From Python.
    "Restorer.open('nowhere')": NO_BUNDLE,
    "restorer.restore('photo.jpg')":
        "not a picture: wanted an array (height, width, 3), found str; restore_file takes files",
    "restorer.restore(pixels.astype(np.float32))":
        "not a picture: wanted float32 values in [0, 1], found 0 to 255; divide 8-bit values by "
        "255",
    "restorer.restore(pixels[..., 0])":
        "not a picture: wanted an array (height, width, 3), found shape (32, 48)",
}  # fmt: skip
"""What is typed -> the line that is answered."""


@pytest.fixture
def folder(tiny_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that the mistakes name, as the working folder."""
    Image.fromarray(PIXELS).save(tmp_path / "photo.jpg")
    photo = (tmp_path / "photo.jpg").read_bytes()
    content = {"other.jpg": photo, "cut.jpg": photo[:400], "empty.png": b"", "clip.mp4": bytes(50)}
    content |= {
        "notes.txt": b"bring an umbrella today",
        "DSC_1.NEF": b"II*\0",
        "photo.jxl": photo[2:],
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    for name, source in zip(("ir.pth", "router.pth"), tiny_files, strict=True):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_of_mistakes(
    folder: Path,
    lorair_run: Command,
    lorair_export: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("av")
    pytest.importorskip("fastapi")
    monkeypatch.setenv("COLUMNS", "200")
    commands = {"lorair-run": lorair_run, "lorair-export": lorair_export}
    names = {"Restorer": Restorer, "restorer": Restorer.open(), "pixels": PIXELS, "np": np}
    rows, wrong = [], []
    for typed, wanted in MISTAKES.items():
        first, *rest = shlex.split(typed.format(ir="ir.pth", router="router.pth"))
        if first in commands:
            done = commands[first](*rest)
            assert done.code == 2, typed
            assert "Traceback" not in done.err, typed
            shown = done.err if done.error[:1] == "╰" else done.error.removeprefix("error: ")
        else:
            with pytest.raises(UserError) as caught:
                eval(typed, names)
            shown = str(caught.value)
        said = " ".join(shown.replace("│", " ").replace(f"{folder}/", "").split())
        is_boxed = "╭─ Error" in said
        expected = wanted.format(ir="ir.pth", router="router.pth")
        if not (expected in said if is_boxed else expected == said):
            wrong.append(f"{typed}\n  wanted {expected}\n  found  {said}")
        rows.append(f"{typed}\n    {expected if is_boxed else said}")
    print("\n".join(rows))
    assert not wrong, "\n".join(wrong)
    assert len(MISTAKES) >= 50
