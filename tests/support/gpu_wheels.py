"""Fetch what `make gpu-check` needs and a machine without a package index lacks.

    python tests/support/gpu_wheels.py HAVE FOLDER [--python 3.12] [--megabytes 60]

HAVE is what `pip list --format=freeze` prints there. FOLDER gets parts `1`, `2`, … of at most so
many megabytes, for copying; there: `pip install --no-index --no-deps --target SITE PART/*`, and
`PYTHONPATH=SITE make gpu-check`. A wheel that is too large for a part is named, and left out.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEEDED = ("lorair[cpu,export,kernels,bench]", "cuda-core", "cuda-bindings", "pytest", "hypothesis")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")


def closure(wanted: Iterable[str]) -> dict[str, str]:
    """Versions of all packages that these need, as they are installed here, but for lorair."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), extra) for text in wanted for extra in _extras(text)]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another system
            continue
        found[name] = package.version
        for text in package.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed, e) for e in _extras(text)]
    found.pop("lorair", None)
    return found


def _extras(text: str) -> Iterator[str]:
    yield ""
    yield from Requirement(text).extras


def missing(needed: Mapping[str, str], have: str) -> dict[str, str]:
    """Those that a list as `pip list --format=freeze` prints it does not have, in any version."""
    names = {canonicalize_name(line.partition("==")[0].strip()) for line in have.splitlines()}
    return {name: version for name, version in needed.items() if name not in names}


def into_parts(sizes: Mapping[Path, int], limit: int) -> tuple[list[list[Path]], list[Path]]:
    """Files in as few parts as first fit finds, the largest first; and those too large for any."""
    parts: list[list[Path]] = []
    for file in sorted(sizes, key=lambda file: -sizes[file]):
        if sizes[file] > limit:
            continue
        fitting = (p for p in parts if sum(sizes[f] for f in p) + sizes[file] <= limit)
        part = next(fitting, None)
        if part is None:
            parts.append(part := [])
        part.append(file)
    return parts, [file for file in sizes if sizes[file] > limit]


def fetch(packages: Mapping[str, str], python: str, folder: Path) -> list[str]:
    """Download wheels for x86-64 Linux; the packages that have none."""
    platforms = [f"--platform={name}_x86_64" for name in PLATFORMS]
    failed = []
    for name, version in packages.items():
        # A local version, as in 2.13.0+cpu, is in no index.
        wanted = f"{name}=={version.partition('+')[0]}"
        command = [
            sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check",
            "--no-deps", "--only-binary=:all:", f"--python-version={python}",
            "--implementation=cp", *platforms, "-d", str(folder), wanted,
        ]  # fmt: skip
        if subprocess.run(command).returncode:
            failed.append(wanted)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("have", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--megabytes", type=int, default=60)
    given = parser.parse_args()
    wanted = missing(closure(NEEDED), given.have.read_text())
    shutil.rmtree(given.folder, ignore_errors=True)
    with TemporaryDirectory() as temporary:
        failed = fetch(wanted, given.python, Path(temporary))
        sizes = {file: file.stat().st_size for file in Path(temporary).iterdir()}
        parts, large = into_parts(sizes, given.megabytes * 1000**2)
        for number, part in enumerate(parts, 1):
            home = given.folder / str(number)
            home.mkdir(parents=True)
            for file in part:
                shutil.move(file, home / file.name)
            size = sum(sizes[file] for file in part) / 1e6
            print(f"{home}: {len(part)} wheels, {size:.0f} MB")
    for file in large:
        print(f"too large for a part: {file.name}, {sizes[file] / 1e6:.0f} MB")
    for name in failed:
        print(f"no wheel: {name}")
    return int(bool(failed or large))


if __name__ == "__main__":
    sys.exit(main())
