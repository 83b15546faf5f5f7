"""lorair-bench: time a bundle, and measure how well it restores."""

from lorair.benchmarks.commands_command import commands
from lorair.benchmarks.compare_command import compare
from lorair.benchmarks.experts_command import experts
from lorair.benchmarks.kernels_command import kernels
from lorair.benchmarks.latency_command import latency
from lorair.benchmarks.quality_command import quality
from lorair.benchmarks.report_command import report
from lorair.benchmarks.throughput_command import throughput
from lorair.benchmarks.tiles_command import tiles
from lorair.runtime import console

app = console.make_app("Measure lorair bundles: time and quality.")
app.command()(latency)
app.command()(throughput)
app.command()(commands)
app.command()(experts)
app.command()(compare)
app.command()(quality)
app.command()(tiles)
app.command()(kernels)
app.command()(report)


def main() -> None:
    """The console script."""
    console.run(app)
