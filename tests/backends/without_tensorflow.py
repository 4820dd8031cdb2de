"""Try what the package offers where TensorFlow is not installed, and print {name: error or "works"} as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absent import hide

hide("tensorflow")

import spinenet_tf as sn  # noqa: E402

told: dict[str, str] = {}


def attempt(name: str, act: Callable[[], Any]) -> None:
    try:
        act()
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
    else:
        told[name] = "works"


def build(**options: Any) -> Any:
    return sn.classifier("spinenet_mobile_49xs", 2, (32, 32, 3), width=0.25, endpoint=8, **options)


with tempfile.TemporaryDirectory() as name:
    folder, model = Path(name), build()
    model.save_weights(folder / "net.weights.h5")
    attempt("weights file", lambda: build(weights=folder / "net.weights.h5"))
    attempt("export", lambda: model.export(folder / "saved"))
    attempt("batches", lambda: sn.data.ClassificationDataset("mine", ("a",), ()).batches((32, 32), 1))
    for package, names in (("sn", sn.__all__), ("sn.data", sn.data.__all__), ("sn.export", sn.export.__all__)):
        for each in names:
            attempt(f"{package}.{each}", lambda package=package, each=each: getattr(eval(package), each))

told["imported"] = str("tensorflow" in sys.modules)
print(json.dumps(told))
