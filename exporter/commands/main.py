"""lorair-export: checkpoint to bundle."""

from lorair.exporter.commands.build import build
from lorair.exporter.commands.engine import engine
from lorair.exporter.commands.expert import add_expert, list_experts, remove_expert
from lorair.exporter.commands.graph import graph, polygraphy
from lorair.exporter.commands.inspect import inspect
from lorair.exporter.commands.merge import merge
from lorair.exporter.commands.plugin import plugin
from lorair.exporter.commands.synth import synth
from lorair.exporter.commands.triton import triton
from lorair.exporter.commands.upload import upload
from lorair.exporter.commands.verify import verify
from lorair.runtime.system import console

app = console.make_app("Turn LoRA-IR checkpoints into bundles that run without PyTorch.")
for command in (
    build, inspect, verify, engine, plugin, graph, merge, polygraphy, triton, upload, synth
):  # fmt: skip
    app.command()(command)
experts = console.make_group(app, "expert", "Add an expert to a bundle, take one away, list them.")
experts.command("add")(add_expert)
experts.command("remove")(remove_expert)
experts.command("list")(list_experts)


def main() -> None:
    """Run the console script."""
    console.run(app)
