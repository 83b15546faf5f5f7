"""Made result files of every kind, and a reader of pages that trusts nothing."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from results import ENVIRONMENT, configuration, latency_report

from lorair.benchmarks.kernels.floors import KNOWN_DEVICES, layers, row
from lorair.benchmarks.schema.results_file import to_json
from lorair.exporter.model.config import PRESETS

HOSTILE = "</script><script>alert(1)</script><img src='http://x.invalid/y.png'> $x_{"

_VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """What a browser would find; raises AssertionError for tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"th", "td"}:
            self.tables[-1][-1].append(("", None))
        elif tag == "data":
            text, _ = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = text, found["value"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open):
            text, value = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = text + data, value

    def attributes(self, name: str) -> list[str]:
        return [found[name] for _, found in self.tags if name in found]


def common(kind: str, **fields: Any) -> dict[str, Any]:
    environment = ENVIRONMENT.model_dump(mode="json")
    return {"schema_version": 2, "kind": kind, "environment": environment} | fields


def latency() -> dict[str, Any]:
    """Two sizes, hostile names, an outlier, cold starts, a GPU's memory."""
    total = [0.5, 0.51, 0.49, 0.5, 2.0, 0.5, 0.52, 0.48]
    found = [
        configuration(
            backend, bundle=bundle, height=height,
            total=[v * scale for v in total], router=[0.1] * 8, restorer=[0.35 * scale] * 8,
            decode=[0.01] * 8, cpu=[0.9] * 8, psnr_db=61.5, notes=(HOSTILE,),
            memory={"host": 1_500_000_000, "device": 700_000_000},
        )
        for height in (32, 64)
        for bundle, backend, scale in (("b", HOSTILE, 1.0), ("\u6587 \x07\u202e", "slow", 3.25))
    ]  # fmt: skip
    content = to_json(latency_report(*found, notes=(HOSTILE,), command=("lorair-bench", HOSTILE)))
    for c in content["configurations"]:
        c["cold"] = {"start": [0.4], "load": [1.0], "total": [2.25]}
        one = {"count": 1, "interval": {"low": 0.1, "high": 3, "confidence": 0.95}}
        c["cold_summary"] = {
            name: one | {"p50": v[0], "p90": v[0], "p99": v[0], "min": v[0]}
            for name, v in c["cold"].items()
        }
        c["warmup"] = 1
    return content


def throughput() -> dict[str, Any]:
    runs = [
        {"jobs": jobs, "seconds": [4.0 / jobs, 5.0 / jobs, 4.5 / jobs],
         "cpu_seconds": [6.0] * 3, "stages": {"restoring": 3.0, "decoding": 0.5},
         "bottleneck": "restoring"}
        for jobs in (1, 2, 4)
    ]  # fmt: skip
    return common("throughput", backend="x", pictures=18, megapixels=9.0, runs=runs)


def quality() -> dict[str, Any]:
    def scores(psnr: float) -> dict[str, float]:
        return {"psnr": psnr, "ssim": 0.8125, "psnr_y": psnr + 1, "ssim_y": 0.875}

    pictures = [
        {"name": f"{route} {i}", "width": 64, "height": 48, "route": route,
         "before": scores(20.0 + i), "after": scores(26.0 + 2 * i)}
        for route in ("snow", "rain", HOSTILE)
        for i in range(3)
    ]  # fmt: skip
    pictures[0]["preview"] = {
        "degraded": jpeg(60), "restored": jpeg(120), "truth": jpeg(180), "format": "jpeg"
    }  # fmt: skip
    mean = {"before": scores(21.0), "after": scores(28.0)}
    return common("quality", pictures=pictures, mean=mean, settings={"description": "x"})


def jpeg(level: int) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), level, np.uint8)).save(stream, "JPEG")
    return base64.b64encode(stream.getvalue()).decode()


def kernels(timed: bool) -> dict[str, Any]:
    times = {"fused_ms": 0.5, "unfused_ms": 1.5, "merged_ms": 1.25} if timed else {}
    sizes = [
        {"size": [64, 64], "device": device.model_dump(),
         "layers": [row(x, device, **times).model_dump()
                    for x in layers(PRESETS["tiny"].restoration, 64, 64)],
         "network_ms": {"captured": 12.5} if timed else None}
        for device in KNOWN_DEVICES[: 1 if timed else 2]
    ]  # fmt: skip
    compiled = [{"name": "k", "sm": 90, "threads": 128, "registers": 64, "spilled": 0}]
    return common("kernels", preset="tiny", dtype="fp16", timed=timed, sizes=sizes,
                  compiled=None if timed else compiled)  # fmt: skip


def experts() -> dict[str, Any]:
    """A mixture in three forms; nothing fused was timed."""
    forms = {"merged": (0.5, 0.0), "gates": (0.5, 0.0625), "fused": (None, 0)}
    rows = [
        {"experts": count, "top_k": top_k, "rank": 4, "form": form, "height": 64, "width": 96,
         "p50": None if base is None else base + slope * count, "peak_memory": count * 10**8,
         "bundle_bytes": count * 10**7, "note": "not here" * (base is None)}
        for top_k in (1, 2)
        for count in (2, 4, 8)
        for form, (base, slope) in forms.items()
    ]  # fmt: skip
    return common("experts", preset="tiny", backend="onnxruntime", description="ONNX Runtime",
                  rows=rows, crossover=["Merging pays from 7 pictures on"])  # fmt: skip


def commands() -> dict[str, Any]:
    run = {"command": ["x", HOSTILE], "seconds": [1.0, 3.0, 2.0], "cpu_seconds": [1.0, 1.0, 1.0],
           "p50": 2.0, "peak_memory": 1_500_000_000}  # fmt: skip
    return common("commands", runs=[run, run | {"peak_memory": None}], sizes={"a": 10})


def tiles() -> dict[str, Any]:
    row = {"picture": HOSTILE, "width": 90, "height": 60, "seam": 1.5, "seconds": 2.0,
           "untiled_seconds": 1.0}  # fmt: skip
    rows = [row | {"tile": side, "psnr_db": db} for side in (32, 64) for db in (40.0, side - 0.5)]
    return common("tiles", backend="onnxruntime", rows=rows)


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_all(folder: Path) -> list[Path]:
    """One file of each kind, the kernels timed and not, one of them incomplete."""
    return [
        write(folder, "latency", latency()),
        write(folder, "throughput", throughput()),
        write(folder, "quality", quality() | {"complete": False}),
        write(folder, "kernels", kernels(timed=False)),
        write(folder, "kernels-timed", kernels(timed=True)),
        write(folder, "experts", experts()),
        write(folder, "commands", commands()),
        write(folder, "tiles", tiles()),
    ]
