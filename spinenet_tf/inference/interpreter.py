"""Open any .tflite file with LiteRT's interpreter, and list its operations by a private method of LiteRT 2.3."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from spinenet_tf._files import native_output


def open_interpreter(path: str | os.PathLike, **options: Any) -> Any:
    """Return LiteRT's interpreter of a file, created with `options` and with its tensors allocated.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a TFLite file, or LiteRT does not support one of its operations.
    """
    from ai_edge_litert.interpreter import Interpreter

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    with native_output.hidden():
        try:
            interpreter = Interpreter(model_path=str(path), **options)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"LiteRT cannot load {path}: {error}") from error
    return interpreter


def operations_of(interpreter: Any) -> list[dict[str, Any]]:
    """Return "index", "op_name", and the tensor indices "inputs" and "outputs" of each operation.

    The operations of the file come first, then the partitions that a delegate runs, which no public method shows.
    """
    return interpreter._get_ops_details()
