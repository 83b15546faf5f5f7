"""lorair-run: restore pictures with a bundle."""

from lorair.runtime import console
from lorair.runtime.batch_command import batch
from lorair.runtime.doctor_command import doctor
from lorair.runtime.infer_command import infer
from lorair.runtime.route_command import route
from lorair.runtime.serve_command import serve
from lorair.runtime.video_command import video

app = console.make_app("Restore pictures with a lorair bundle. No PyTorch needed.")
for command in (infer, batch, route, video, serve, doctor):
    app.command()(command)


def main() -> None:
    """The console script."""
    console.run(app)
