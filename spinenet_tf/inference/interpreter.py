"""LiteRT's interpreter of a .tflite file of any origin. LiteRT 2.3 lists a file's operations under no public name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from spinenet_tf._files import native_output


def open_interpreter(path: str | os.PathLike, **options: Any) -> Any:
    """Return LiteRT's interpreter of a file, with its tensors allocated; it takes the `options`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a TFLite file, or has operations that LiteRT does not know.
    """
    from ai_edge_litert.interpreter import Interpreter

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    with native_output.hidden():
        try:
            interpreter = Interpreter(model_path=str(path), **options)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is not a TFLite file that LiteRT runs: {error}") from error
    return interpreter


def operations_of(interpreter: Any) -> list[dict[str, Any]]:
    """Return each operation's "index", "op_name", and the numbers of its "inputs" and "outputs".

    Behind those of the file come the parts that a delegate runs.
    """
    return interpreter._get_ops_details()
