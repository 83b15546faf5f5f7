"""How `lorair-bench latency` shows its result."""

from lorair.benchmarks.schema import Configuration, LatencyReport
from lorair.benchmarks.timing.latency import whole
from lorair.runtime.system import console


def print_latency(document: LatencyReport) -> None:
    """A table for each configuration, on stdout."""
    environment, settings = document.environment, document.settings
    out = console.stdout()
    precisions = ", ".join(dict.fromkeys(b.precision for b in document.bundles))
    out.print(
        f"{environment.cpu}, {environment.cores} cores; {precisions}; "
        f"{settings['iterations']} rounds; milliseconds",
        soft_wrap=True,
    )
    for c in document.configurations:
        bundle = f"{c.bundle}, " if len(document.bundles) > 1 else ""
        out.print(f"\n{c.shape}  {bundle}{c.description}", soft_wrap=True)
        _print_configuration(c)


def _print_configuration(c: Configuration) -> None:
    out = console.stdout()
    memory = c.memory.host and f"; peak memory {c.memory.host / 1e9:.2f} GB"
    device = c.memory.device and f", on the GPU {c.memory.device / 1e9:.2f} GB"
    loading = c.first.get("load", 0) * 1000
    first = whole(c.first) * 1000
    out.print(f"first run {first:.0f}, of it {loading:.0f} loading{memory or ''}{device or ''}")
    if c.psnr_db is not None:
        out.print(f"{c.psnr_db:.1f} dB against fp32 on ONNX Runtime")
    rows = console.table("stage", ">p50", ">95 % interval", ">p90", ">p99", ">min")
    for stage, s in c.summary.items():
        interval = f"{s.interval.low * 1e3:.1f} to {s.interval.high * 1e3:.1f}"
        cells = [f"{value * 1e3:.1f}" for value in (s.p90, s.p99, s.min)]
        rows.add_row(stage, f"{s.p50 * 1e3:.1f}", interval, *cells)
    out.print(rows)
    out.print(_remarks(c), soft_wrap=True)


def _remarks(c: Configuration) -> str:
    """Warm-up, outliers and cold start, in a line."""
    remarks = []
    if (total := c.summary.get("total")) and c.batch > 1:
        remarks.append(f"{total.p50 / c.batch * 1e3:.1f} a picture")
    if c.warmup:
        remarks.append(f"warm-up, left out: {c.warmup} of {c.rounds} rounds")
    if total := c.summary.get("total"):
        remarks.append(f"outliers: {len(total.outliers)} of {total.count}, kept")
    if cold := c.cold_summary.get("total"):
        start = c.cold_summary["start"].p50 * 1e3
        remarks.append(f"cold: {cold.p50 * 1e3:.0f} to the first picture, of it {start:.0f} start")
    return "; ".join(remarks)
