"""`lorair-run serve`: restore pictures over HTTP."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorair.runtime.cluster.session import AddressOption
from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.serve import settings as defaults
from lorair.runtime.system import console
from lorair.runtime.system.extras import require

if TYPE_CHECKING:
    from lorair.runtime.serve.settings import Settings

_PACKAGES: Final = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def serve(
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    host: Annotated[
        str, typer.Option(help="The address to listen on; any but loopback requires a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes any that is free.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LORAIR_TOKEN", help="The token that clients must send.", show_default=False
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Answer to this name too; may be repeated. Default: those of this machine; "
            "with a token, any.",
            show_default=False,
        ),
    ] = None,
    queue: Annotated[
        int, typer.Option(min=0, help="How many pictures may wait besides those in work.")
    ] = defaults.DEFAULT_QUEUE,
    timeout: Annotated[
        float, typer.Option(help="Give up a picture after so many seconds, waiting included.")
    ] = defaults.DEFAULT_TIMEOUT,
    decode_timeout: Annotated[
        float,
        typer.Option(
            min=0,
            help="Give up a picture that takes more seconds than this to decode, in a process of "
            "its own; 0 decodes in the server.",
        ),
    ] = defaults.DEFAULT_DECODE_TIMEOUT,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="Refuse files with more bytes than this.")
    ] = defaults.DEFAULT_MAX_BYTES,
    max_pixels: options.MaxPixelsOption = defaults.DEFAULT_MAX_PIXELS,
    threads: options.ThreadsOption = None,
    backend: options.BackendOption = "auto",
    jobs: options.JobsOption = None,
    grace: Annotated[
        float, typer.Option(min=1, help="How many seconds running work may take after SIGTERM.")
    ] = defaults.DEFAULT_GRACE,
    on_ray: Annotated[
        bool, typer.Option("--ray", help="Serve with replicas on Ray Serve (docs/ray.md).")
    ] = False,
    address: AddressOption = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --ray: how many replicas to start. Default: as many as fit."
        ),
    ] = None,
    max_replicas: Annotated[
        int | None,
        typer.Option(min=1, help="With --ray: add replicas under load, up to this many."),
    ] = None,
    num_gpus: Annotated[
        float, typer.Option(min=0, help="With --ray: how many GPUs each replica gets.")
    ] = 0,
) -> None:
    """Restore pictures over HTTP, with a web page at /.

    SIGTERM and Ctrl-C: what was taken is answered, new requests are refused. Exit code 0,
    or 1 if the time to end in was too short. The log is JSON lines on stderr.
    """
    require("serve", "serve", *_PACKAGES)
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.serve.app import create_app
    from lorair.runtime.serve.server import listen, run
    from lorair.runtime.serve.service import Service
    from lorair.runtime.serve.settings import Settings
    from lorair.runtime.system.machine import default_jobs

    limits = Settings(
        queue, timeout, max_bytes, max_pixels, decode_timeout=decode_timeout, token=token,
        allowed_hosts=tuple(name.lower() for name in allowed_host or ()),
    )  # fmt: skip
    _check_host(host, limits)
    if on_ray:
        from lorair.runtime.cluster.serve_command import serve_on_ray

        serve_on_ray(
            bundle, backend, threads or 1, jobs or 1, limits, host=host, port=port, grace=grace,
            address=address, replicas=replicas, most=max_replicas, gpus=num_gpus,
        )  # fmt: skip
        return
    with listen(host, port) as sock:
        jobs = default_jobs(threads) if jobs is None else jobs
        with console.status(f"loading {bundle}"):
            service = Service(Restorer.open(bundle, backend, threads, jobs), limits)
        _announce(sock.getsockname(), service.restorer.backend.description)
        if not run(create_app(service, limits), service, sock, grace):
            os._exit(1)  # a thread in a library's code would hold up any other end


def _check_host(host: str, limits: "Settings") -> None:
    from lorair.runtime.serve.entry import is_loopback

    if limits.token is None and not is_loopback(host):
        raise OptionError(
            "--host",
            wanted="127.0.0.1, or a token for whoever else may come",
            found=f"{host} without one",
            hint="set LORAIR_TOKEN; `openssl rand -hex 16` makes one",
        )


def _announce(address: tuple[str, int], backend: str) -> None:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    console.say(f"lorair serves at http://{host}:{address[1]} on {backend}")
    sys.stdout.flush()  # also into a pipe: who started it may wait for the address
