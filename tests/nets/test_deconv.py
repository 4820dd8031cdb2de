"""ResNet-18 with transposed convs has as many parameters as the paper's layers, and works at any input size."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, backbone
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.costs import count_params, multiply_adds, without_values
from spinenet_tf.nets.graphs import RESNET_18

NARROW = {"width": 0.125, "endpoint": 8}


def test_it_has_the_parameters_and_multiply_adds_of_the_layer_lists():
    net = without_values(lambda: backbone("resnet_18", (512, 512, 3)))
    # With 80 classes 14,219,092 and 13.09 billion, of which the heads are 116,244 and 1.90 billion.
    assert count_params(net) == 14_219_092 - 116_244
    assert multiply_adds(net) / 1e9 == pytest.approx(13.09 - 1.90, abs=0.01)
    assert {name: x.shape for name, x in net.output.items()} == {"P2": (None, 128, 128, 64)}
    widths = [net.get_layer(f"deconv_P{level}_up").filters for level in (4, 3, 2)]
    assert widths == [256, 128, 64]


def test_its_trunk_is_the_published_resnet():
    net = without_values(lambda: backbone("resnet_18", (512, 512, 3)))
    trunk = keras.Model(net.input, net.get_layer("stem_block7_out").output)
    assert count_params(trunk) == 11_176_512
    assert multiply_adds(trunk) / 1e9 == pytest.approx(9.47, abs=0.01)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (100, 75), (32, 33)])
def test_it_works_at_any_size(size, images, randomize, tmp_path):
    dynamic = randomize(backbone("resnet_18", (None, None, 3), **NARROW))
    x = images(*size, 1)
    pyramid = dynamic(x)
    assert pyramid["P2"].shape == (1, -(-size[0] // 4), -(-size[1] // 4), 8)
    assert np.isfinite(pyramid["P2"]).all()
    static = backbone("resnet_18", (*size, 3), **NARROW)
    assert [layer.name for layer in static.layers] == [layer.name for layer in dynamic.layers]
    static.set_weights(dynamic.get_weights())
    np.testing.assert_allclose(static(x)["P2"], pyramid["P2"], atol=1e-5)


def test_it_survives_its_files(images, randomize, tmp_path):
    net = randomize(backbone("resnet_18", (65, 97, 3), **NARROW, l2=1e-4))
    assert ArchitectureSpec.from_config(json.loads(json.dumps(RESNET_18.get_config()))) == RESNET_18
    RESNET_18.save(tmp_path / "graph.yaml")
    assert ArchitectureSpec.load(tmp_path / "graph.yaml") == RESNET_18
    net.save(tmp_path / "net.keras")
    copy = keras.models.load_model(tmp_path / "net.keras")
    assert type(copy) is Backbone
    np.testing.assert_array_equal(copy(images(65, 97, 1))["P2"], net(images(65, 97, 1))["P2"])
    assert len(net.losses) == len([layer for layer in net.layers if hasattr(layer, "kernel")])
