"""Import the public names of a package at first use, and say what to install if TensorFlow is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def needs_tensorflow(what: str) -> Iterator[None]:
    """Say in one line that `what` needs TensorFlow, if it is not installed and the block imports it.

    This can be used as a decorator.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorflow":
            raise
        raise ImportError(f"{what} needs TensorFlow: pip install tensorflow") from None


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package, whose `__init__` defines them by this call.

    `homes` maps each public name to the module that defines it, such as `.nets.specs`, which is relative to the
    package. A name whose home is the module of the same name is the module itself.
    """

    def get(name: str) -> Any:
        if name not in homes:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=sys.modules[package])
        with needs_tensorflow(f"{package}.{name}"):
            module = import_module(homes[name], package)
        return module if homes[name] == f".{name}" else getattr(module, name)

    def names() -> list[str]:
        return sorted({*homes, *(name for name in vars(sys.modules[package]) if name.startswith("__"))})

    return get, names
