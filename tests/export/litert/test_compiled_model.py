"""LiteRT's CompiledModel, the API that replaces its Interpreter, gives the same numbers by the same names."""

from __future__ import annotations

import pytest
from compiled_model import assert_compiled_gives_the_same

from spinenet_tf.export.litert.targets import OUTPUTS
from spinenet_tf.export.litert.tflite_file import QUANTIZATIONS


@pytest.mark.parametrize("quantization", [x for x in QUANTIZATIONS if x != "int16x8"])  # that one: see CenterNet's
def test_raw_outputs_are_the_same(exported, quantization) -> None:
    assert_compiled_gives_the_same(exported(quantization).path)


@pytest.mark.parametrize("kind", [x for x in OUTPUTS if x != "raw"])
def test_decoding_and_the_custom_operation_are_the_same(files_by_kind, kind) -> None:
    assert_compiled_gives_the_same(files_by_kind[kind])


def test_a_classifier_is_the_same(classifier_file) -> None:
    assert_compiled_gives_the_same(classifier_file)
