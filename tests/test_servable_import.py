"""Graphs of either kind load: functions called by an attribute of a node, or by a node of the function's name."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.function import Defun

from serving.server.servable import Servable

v1 = tf.compat.v1


def nodes(path: Path) -> set[str]:
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return {node.op for node in saved.meta_graphs[0].graph_def.node}


def test_a_function_called_by_a_node_of_its_name(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:

        @Defun(tf.float32, func_name="triple")
        def triple(x: tf.Tensor) -> tf.Tensor:
            return 3 * x

        x = v1.placeholder(tf.float32, [None], name="x")
        y = tf.identity(triple(x), name="y")
        v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": y})
    assert "triple" in nodes(tmp_path / "1")
    servable = Servable(tmp_path / "1")
    np.testing.assert_array_equal(servable.run({"x:0": np.array([2.0], np.float32)}, ["y:0"])[0], [6.0])
    servable.close()


def test_a_function_called_by_an_attribute(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(3.0)
    triple = tf.function(lambda x: {"y": module.weight * x}).get_concrete_function(tf.TensorSpec([None], name="x"))
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=triple)
    assert "StatefulPartitionedCall" in nodes(tmp_path / "1")
    servable = Servable(tmp_path / "1")
    signature = servable.signatures["serving_default"]
    feeds = {signature.inputs["x"].name: np.array([2.0], np.float32)}
    np.testing.assert_array_equal(servable.run(feeds, [signature.outputs["y"].name])[0], [6.0])
    servable.close()
