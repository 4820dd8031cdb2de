"""Run .tflite files with LiteRT on one thread: `run_files.py FILES.json IMAGES.npz OUTPUTS.npz`.

It needs only LiteRT and NumPy, so that x86 and emulated ARM64 run the same program. FILES.json maps a key to a file and
the name of its images in IMAGES.npz; OUTPUTS.npz has an array `key/output` with a row per image.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run(path: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return a file's outputs by name for each image."""
    signature = Interpreter(model_path=path, num_threads=1).get_signature_runner()
    rows = [signature(images=image[None]) for image in images]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def main(files: str, images: str, outputs: str) -> None:
    """Run all files, in one process because Python starts slowly in emulation."""
    found: dict[str, np.ndarray] = {}
    with np.load(images) as given:
        for key, (path, name) in json.loads(Path(files).read_text()).items():
            print(key, file=sys.stderr, flush=True)  # names the file that crashed the process
            found |= {f"{key}/{output}": values for output, values in run(path, given[name]).items()}
    np.savez(outputs, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
