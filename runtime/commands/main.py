"""lorair-run: restore pictures with a bundle."""

from lorair.runtime.commands.batch import batch
from lorair.runtime.commands.doctor import doctor
from lorair.runtime.commands.infer import infer
from lorair.runtime.commands.route import route
from lorair.runtime.commands.serve import serve
from lorair.runtime.commands.tune import tune
from lorair.runtime.commands.video import video
from lorair.runtime.commands.warm import warm
from lorair.runtime.system import console

app = console.make_app("Restore pictures with a lorair bundle. No PyTorch needed.")
for command in (infer, route, video, serve, batch, tune, warm, doctor):
    app.command()(command)


def main() -> None:
    """The console script."""
    console.run(app)
