import json
from dataclasses import asdict
from pathlib import Path

import pytest

from lorair.runtime.bundle.kernels import INDEX, Compiled, for_gpu, read_index
from lorair.runtime.errors import BundleError


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}', '{"schema": 1, "kernels": [{}]}'])
def test_damaged_index(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(BundleError, match="--kernels"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../x"),
        ("file", ".x"),
        ("sm", "eighty"),
        ("sm", 10**9),
        ("block", [1, 2]),
        ("shared", -1),
        # Plugins are compiled from it: no name may end a word of C++.
        ("name", 'a", system("id"), "'),
        ("entry", "a b"),
        ("arguments", [["x, y", "i32"]]),
        ("aligned", ["x}"]),
    ],
)
def test_an_index_with_what_cannot_be(tmp_path: Path, key: str, value: object) -> None:
    entry = asdict(kernel("a", 80)) | {key: value}
    (tmp_path / INDEX).write_text(json.dumps({"schema": 1, "kernels": [entry]}))
    with pytest.raises(BundleError, match=rf"{key}.*--kernels"):
        read_index(tmp_path)


def kernel(name: str, sm: int, format: str = "cubin") -> Compiled:
    return Compiled(
        name, name, sm, format, f"{name}.{sm}", "entry", (), (), {}, (32, 1, 1), 0, 1, 0
    )


@pytest.mark.parametrize(
    ("sm", "file"),
    [
        (75, None),
        (80, "a.80"),
        (86, "a.86"),
        (87, "a.86"),
        (89, "a.86"),
        (90, "a.89"),  # as PTX: another generation's cubin does not run
        (120, "a.120"),
        (121, "a.89"),  # from Hopper on, a cubin runs on its own GPU only
    ],
)
def test_the_nearest_file_that_runs(sm: int, file: str | None) -> None:
    kernels = [kernel("a", 80), kernel("a", 86), kernel("a", 120), kernel("a", 89, "ptx")]
    found = for_gpu(kernels, sm)
    assert (found["a"].file if found else None) == file


def test_what_no_file_runs_is_left_out() -> None:
    assert set(for_gpu([kernel("a", 80), kernel("b", 90)], 86)) == {"a"}
