"""The web page: a few files of the package, and nothing else."""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/zip.js": ("zip.js", "text/javascript; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/example.jpg": ("example.jpg", "image/jpeg"),
}
"""Path -> file in `static`, media type."""


def install(app: FastAPI) -> None:
    """Serve the page. Its paths are fixed: no name from a request reaches the disk."""
    folder = files("lorair.runtime.serve") / "static"
    for path, (name, media) in FILES.items():
        _add(app, path, (folder / name).read_bytes(), media)


def _add(app: FastAPI, path: str, content: bytes, media: str) -> None:
    async def answer() -> Response:
        return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

    app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)
