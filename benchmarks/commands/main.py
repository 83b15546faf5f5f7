"""lorair-bench: time a bundle, and measure how well it restores."""

from lorair.benchmarks.commands.commands import commands
from lorair.benchmarks.commands.compare import compare
from lorair.benchmarks.commands.experts import experts
from lorair.benchmarks.commands.kernels import kernels
from lorair.benchmarks.commands.latency import latency
from lorair.benchmarks.commands.quality import quality
from lorair.benchmarks.commands.report import report
from lorair.benchmarks.commands.throughput import throughput
from lorair.benchmarks.commands.tiles import tiles
from lorair.runtime.system import console

app = console.make_app("Measure how fast bundles are and how well they restore.")
for command in (
    latency, quality, compare, report, throughput, tiles, experts, commands, kernels
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """Run lorair-bench."""
    console.run(app)
