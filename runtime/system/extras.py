"""Packages of the optional extras: whether they are there, and which command brings them."""

import json
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lorair.runtime.errors import DependencyError
from lorair.runtime.system.machine import is_installed


def require(what: str, extra: str, *packages: str) -> None:
    """Raise DependencyError for the first package that is not installed; imports nothing.

    Args:
        what: that cannot be done without, such as `serve`.
        extra: of lorair, which brings the packages; several with commas.
        packages: as they are imported.
    """
    for name in packages:
        if not is_installed(name):
            raise DependencyError(
                f"cannot {what}",
                wanted=f"the package {name}",
                found="it is not installed",
                hint=install_command(extra),
            )


def install_command(extra: str) -> str:
    """Return the command that adds extras to this installation.

    The same pip takes the same lorair again: from the folder, file or address that it came
    from, or by its name from the index.
    """
    pip = shutil.which("pip")
    is_ours = pip is not None and Path(pip).parent == Path(sys.executable).parent
    tool = "pip" if is_ours else f"{shlex.quote(sys.executable)} -m pip"
    return f"{tool} install {_requirement(extra, _origin())}"


def _requirement(extra: str, origin: dict[str, Any]) -> str:
    named, url = f"lorair[{extra}]", origin.get("url", "")
    if url.startswith("file:"):
        path = Path(url2pathname(urlsplit(url).path))
        if path.exists():
            flag = "-e " if origin.get("dir_info", {}).get("editable") else ""
            return f"{flag}{shlex.quote(f'{path}[{extra}]')}"
    elif "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return shlex.quote(f"{named} @ {vcs['vcs']}+{url}@{vcs['commit_id']}")
    elif url:
        return shlex.quote(f"{named} @ {url}")
    return shlex.quote(named)


def _origin() -> dict[str, Any]:
    """Where lorair was installed from, as PEP 610 has it; empty for the index."""
    try:
        found: dict[str, Any] = json.loads(
            distribution("lorair").read_text("direct_url.json") or "{}"
        )
    except (PackageNotFoundError, ValueError):
        return {}
    return found
