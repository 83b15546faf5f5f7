"""One name for one thing."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "folder", ["benchmarks", "exporter", "kernels", "lorair", "runtime", "training"]
)
def test_no_public_class_has_the_name_of_another(folder: str) -> None:
    names: Counter[str] = Counter()
    for file in (ROOT / folder).rglob("*.py"):
        body = ast.parse(file.read_text("utf-8")).body
        names.update(node.name for node in body if isinstance(node, ast.ClassDef))
    assert not [n for n, count in names.items() if count > 1 and not n.startswith("_")]
