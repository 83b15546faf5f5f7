"""Stands in for `lorair.exporter.engines.worker`: writes a small file, or fails as told.

    fake_worker.py MODE FOLDER

Leaves a file in FOLDER for each time it is run, named by its process and branch. Modes:
`build`; `wait`, which builds once FOLDER/go is there; `hang`, which writes half a file and
waits for its parent to end; `abort`.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    mode, folder = sys.argv[1], Path(sys.argv[2])
    job = json.loads(sys.stdin.readline())
    print(json.dumps({"progress": [0.5, "half"]}), flush=True)
    output = Path(job["output"])
    output.write_bytes(b"half")
    (folder / f"{os.getpid()}.{job['depends']['branch']}").touch()
    if mode == "abort":
        print("a last word", file=sys.stderr, flush=True)
        os.abort()
    if mode == "hang":
        sys.stdin.read()
        return
    while mode == "wait" and not (folder / "go").exists():
        time.sleep(0.01)
    output.write_bytes(b"half and half")
    proof = {"source": "a fake", "products": []}
    done = {"proof": proof, "seconds": 0.1, "peak_memory": None}
    print(json.dumps({"done": done}), flush=True)


if __name__ == "__main__":
    main()
