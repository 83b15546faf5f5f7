"""Fuzz the opening of a bundle: manifest, graphs, index of kernels, records of engines.

    python tests/fuzz/manifests.py -max_total_time=600 -timeout=5 -rss_limit_mb=1024 CORPUS_FOLDER

needs `pip install atheris`.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
with atheris.instrument_imports(include=["json", "lorair.runtime.bundle"]):
    import hostile_models
    from fuzzing import fuzz

if __name__ == "__main__":
    fuzz(hostile_models.BUNDLES)
