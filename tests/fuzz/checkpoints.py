"""Fuzz checkpoint reading: `.pth` and the pickle in it, `.safetensors`, YAML options.

    python tests/fuzz/checkpoints.py -max_total_time=600 -timeout=5 -rss_limit_mb=1024 CORPUS_FOLDER

needs `pip install atheris`.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
with atheris.instrument_imports(
    include=["pickletools", "yaml", "zipfile", "lorair.exporter.checkpoint"]
):
    import hostile_models
    from fuzzing import fuzz

if __name__ == "__main__":
    fuzz(hostile_models.CHECKPOINTS)
