"""keras-hub's tests of its own backbones, run on ours.

`run_vision_backbone_test` includes `run_serialization_test`, `run_precision_test` and `run_quantization_test`.

The tests ask for two things that only keras-hub's base class `Backbone` has, so they run on a subclass that adds them:
`token_embedding`, which is None for images, and a name that contains the class's name. `run_data_format_check` is off,
because our nets are channels_last only. `run_litert_export_test` is not run: tests/export check our own exporters.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras_hub.src.tests import test_case

from spinenet_tf.heads.centernet import CenterNet
from spinenet_tf.heads.classifier import Classifier
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.style import Style


@keras.saving.register_keras_serializable("tests")
class HarnessBackbone(Backbone):
    """Our backbone with what only keras-hub's base class has."""

    token_embedding = None


class TestBackbone(test_case.TestCase):
    @pytest.fixture(autouse=True)
    def _arguments(self, tiny_spec, tiny_mobile_spec):
        self.all_arguments = {
            kind: {"spec": spec, "input_shape": (64, 64, 3), "style": Style(endpoint=8), "name": "harness_backbone"}
            for kind, spec in (("standard", tiny_spec), ("mobile", tiny_mobile_spec))
        }
        images = np.random.default_rng(7).normal(size=(2, 64, 64, 3)).astype("float32")
        self.images = keras.ops.convert_to_tensor(images)

    def run_on_each(self, run, **options) -> None:
        for arguments in self.all_arguments.values():
            run(HarnessBackbone, arguments, self.images, **options)

    def test_vision_backbone(self):
        self.run_on_each(
            self.run_vision_backbone_test,
            expected_output_shape={"P3": (2, 8, 8, 8), "P4": (2, 4, 4, 8), "P5": (2, 2, 2, 8)},
            expected_pyramid_output_keys=["P3", "P4", "P5"],
            expected_pyramid_image_sizes=[(8, 8), (4, 4), (2, 2)],
            run_data_format_check=False,
        )

    def test_model_saving(self):
        self.run_on_each(self.run_model_saving_test)

    def test_serialization_of_models_with_a_head(self):
        for kind, arguments in self.all_arguments.items():
            net = Backbone(arguments["spec"], arguments["input_shape"], arguments["style"])
            self.run_serialization_test(Classifier(net, 3) if kind == "standard" else CenterNet(net, 3))
