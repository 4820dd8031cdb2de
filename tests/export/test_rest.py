"""The programs of docs/serving.md detect: a REST client of TensorFlow Serving, and a server with ONNX Runtime."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from spinenet_tf import load

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
CLIENT, SERVICE = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def answer(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request as TensorFlow Serving does.

    Source: https://www.tensorflow.org/tfx/serving/api_rest: "instances" is the row format, "inputs" the columnar one,
    an input that is the only one needs no name, and `{"b64": ...}` is binary.
    """
    signature = model.signatures[request.get("signature_name", "serving_default")]
    (name, spec), by_row = *signature.structured_input_signature[1].items(), "instances" in request
    given = request["instances"] if by_row else request["inputs"]
    given = given[name] if isinstance(given, dict) and name in given else given
    outputs = signature(**{name: tf.constant(_plain(given), spec.dtype)})
    found = {output: values.numpy().tolist() for output, values in outputs.items()}
    if not by_row:
        return {"outputs": found}
    return {"predictions": [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def saved(tiny_saved_model) -> Any:
    return tf.saved_model.load(str(tiny_saved_model))


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[bytes], bytes]], str]]:
    """Return `serve(answer)`, which starts a server that answers POST requests, and returns its address."""
    servers = []

    def start(answer: Callable[[bytes], bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("localhost", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://localhost:{servers[-1].server_port}/v1/models/detector:predict"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    random = np.random.default_rng(0)
    for name, size in {"a.jpg": (80, 100, 3), "b.png": (64, 40, 3)}.items():
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(tmp_path / name)
    return [str(tmp_path / name) for name in ("a.jpg", "b.png")]


def test_the_client_gets_the_detections_of_files(saved, serve, photos, tiny_saved_model) -> None:
    code: dict[str, Any] = {}
    address = serve(lambda body: json.dumps(answer(saved, json.loads(body))).encode())
    exec(
        CLIENT[: CLIENT.index("for file, found")].replace("http://localhost:8501/v1/models/detector:predict", address),
        code,
    )
    for found, expected in zip(code["detect"](photos), load(tiny_saved_model)(photos), strict=True):
        count = found["num_detections"]
        assert count == len(expected) > 0
        np.testing.assert_allclose(found["boxes"][:count], expected.boxes, atol=1e-2)
        np.testing.assert_allclose(found["scores"][:count], expected.scores, atol=1e-5)
        assert found["classes"][:count] == expected.classes.tolist()


def test_both_forms_of_requests_have_the_same_answer(saved, photos) -> None:
    pixels = np.asarray(Image.open(photos[1])).tolist()
    rows = answer(saved, {"signature_name": "serve_image", "instances": [pixels]})["predictions"]
    columns = answer(saved, {"signature_name": "serve_image", "inputs": {"images": [pixels]}})["outputs"]
    assert rows == [{name: values[0] for name, values in columns.items()}]
    assert rows[0].keys() == {"boxes", "scores", "classes", "num_detections"}


def test_the_default_signature_takes_normalized_images(saved) -> None:
    shape = saved.signatures["serve"].structured_input_signature[1]["images"].shape[1:]
    (found,) = answer(saved, {"instances": np.zeros((1, *shape)).tolist()})["predictions"]
    assert len(found["boxes"]) == len(found["scores"]) >= found["num_detections"]


def test_the_service_answers_with_json(tiny_onnx, photos) -> None:
    code: dict[str, Any] = {"__name__": "service"}
    exec(SERVICE.replace("runs/mine/model.onnx", str(tiny_onnx)).replace("filter(0.3)", "filter(0.0)"), code)
    states: list[str] = []

    def request(content: bytes) -> Any:
        given = {"CONTENT_LENGTH": str(len(content)), "wsgi.input": io.BytesIO(content)}
        (body,) = code["service"](given, lambda state, headers: states.append(state))
        return json.loads(body)

    expected = load(tiny_onnx)(photos[0])
    found = request(Path(photos[0]).read_bytes())
    assert [row["score"] for row in found] == expected.scores.tolist()
    assert [row["box"] for row in found] == expected.boxes.tolist()
    assert "cannot identify image" in request(b"no image")["error"]
    assert request(b"").keys() == {"error"}
    assert states == ["200 OK", "400 Bad Request", "400 Bad Request"]
