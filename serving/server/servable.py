"""One SavedModel in memory, ready to run."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2, saver_pb2

# The call that TF Serving makes too (Session::Run with run options): the public Session.run refuses a feed that does
# not fit the placeholder's static shape, which TF Serving lets pass, and costs five times as much per call.
from tensorflow.python.client import pywrap_tf_session

from serving.server.batch_scheduler import BatchScheduler
from serving.server.batching import BatchingSession
from serving.server.batching_parameters import BatchingParameters
from serving.server.request_metrics import add_run
from serving.server.serving_error import Code, ServingError

INIT_OP = "__saved_model_init_op"
_SERVE_TAGS = {"serve"}
_VARIABLES = {"VarHandleOp", "VariableV2", "Variable"}


class Servable:
    """A SavedModel loaded as TF Serving loads it: the graph in a session of its own, run by tensor names.

    The graph holds no lock of Python's while it runs, so requests run beside each other.

    Difference from TF Serving: a graph with variables whose `variables.index` is missing does not load, where the real
    server would load it and fail every request.

    Args:
        path: The version directory.
        config: Thread counts and other options of the session.

    Raises:
        ServingError: The directory holds no SavedModel with the tag `serve`, or restoring or initialising it failed.
    """

    def __init__(self, path: Path, config: tf.compat.v1.ConfigProto | None = None) -> None:
        meta_graph = _read_meta_graph(path)
        self.path = path
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._batching: BatchingSession | None = None
        self._graph = tf.Graph()
        try:
            with self._graph.as_default():
                _import(meta_graph.graph_def)
            self._session = tf.compat.v1.Session(graph=self._graph, config=config)
            try:
                self._initialise(meta_graph)
            except BaseException:
                self._session.close()
                raise
        except tf.errors.OpError as error:
            raise ServingError(Code(error.error_code), str(error.message)) from None
        except (ValueError, KeyError) as error:
            raise ServingError(Code.INTERNAL, f"{path}: the graph cannot be used: {error}") from None

    def run(
        self, feeds: Mapping[str, NDArray[np.generic]], fetches: Sequence[str], timeout_ms: int = 0
    ) -> list[NDArray[np.generic]]:
        """Runs the graph, in a batch with other requests once `merge_requests` was called.

        Args:
            feeds: Tensor name to value, in the placeholder's dtype.
            fetches: Tensor names to compute.
            timeout_ms: The work is given up after this time; 0 = never. TensorFlow looks at the time between
                operations: one that already runs ends in its own time, and keeps its memory until then.

        Returns:
            The fetched values, in order.

        Raises:
            ServingError: An operation failed; code and message are TensorFlow's. Or as of `BatchingSession.run`.
        """
        began = time.perf_counter_ns()
        run = self._run if self._batching is None else self._batching.run
        values = run(feeds, fetches, timeout_ms)
        add_run((time.perf_counter_ns() - began) / 1000)
        return values

    def merge_requests(self, scheduler: BatchScheduler, parameters: BatchingParameters) -> None:
        """Makes `run` merge the requests of its callers into batches.

        Args:
            scheduler: The threads that run the batches.
            parameters: Sizes and times of the batches.
        """
        self._batching = BatchingSession(self._run, scheduler, parameters)

    def close(self) -> None:
        """Frees the variables and the graph."""
        self._session.close()

    def _run(
        self, feeds: Mapping[str, NDArray[np.generic]], fetches: Sequence[str], timeout_ms: int
    ) -> list[NDArray[np.generic]]:
        options = None
        if timeout_ms > 0:
            serialized = tf.compat.v1.RunOptions(timeout_in_ms=timeout_ms).SerializeToString()
            options = pywrap_tf_session.TF_NewBufferFromString(serialized)
        try:
            values = self._session._call_tf_sessionrun(
                options,
                {self._output(name): value for name, value in feeds.items()},
                [self._output(name) for name in fetches],
                [],
                None,
            )
            # A scalar string comes as bytes, other scalars as NumPy scalars.
            return [np.asarray(value, object if isinstance(value, bytes) else None) for value in values]
        except tf.errors.OpError as error:
            raise ServingError(Code(error.error_code), str(error.message)) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)

    def _output(self, tensor_name: str) -> object:
        return self._graph.get_tensor_by_name(tensor_name)._as_tf_output()

    def _initialise(self, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        assets = {
            asset.tensor_info.name: os.fspath(self.path / "assets" / asset.filename)
            for asset in meta_graph.asset_file_def
        }
        if meta_graph.saver_def.restore_op_name:
            self._restore(meta_graph.saver_def, assets)
        init_op = _init_op_name(meta_graph)
        if init_op:
            self._session.run(self._graph.get_operation_by_name(init_op), assets)

    def _restore(self, saver: saver_pb2.SaverDef, assets: Mapping[str, str]) -> None:
        index = self.path / "variables" / "variables.index"
        if not index.exists():
            if any(operation.type in _VARIABLES for operation in self._graph.get_operations()):
                raise ServingError(Code.NOT_FOUND, f"the graph has variables, but there is no {index}")
            return
        prefix = os.fspath(index.with_suffix(""))
        restore = self._graph.get_operation_by_name(saver.restore_op_name)
        try:
            self._session.run(restore, {saver.filename_tensor_name: prefix, **assets})
        except tf.errors.OpError as error:
            raise ServingError(Code(error.error_code), f"{error.message} (restoring {prefix})") from None


def _read_meta_graph(path: Path) -> meta_graph_pb2.MetaGraphDef:
    saved_model = saved_model_pb2.SavedModel()
    try:
        content = (path / "saved_model.pb").read_bytes()
    except OSError:
        raise ServingError(
            Code.NOT_FOUND, f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
        ) from None
    try:
        saved_model.ParseFromString(content)
    except Exception:  # protobuf's DecodeError has no common public home over its versions
        raise ServingError(Code.DATA_LOSS, f"Can't parse {path / 'saved_model.pb'} as binary proto") from None
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == _SERVE_TAGS:
            return meta_graph
    raise ServingError(
        Code.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ serve }} in {path / 'saved_model.pb'}",
    )


def _import(graph_def: graph_pb2.GraphDef) -> None:
    """Adds a graph to the default graph, its nodes before the functions they call.

    In the other order TensorFlow infers all shapes within a function for each node that calls it, and holds Python's
    lock: 0.2 s for a ranker, in which no request moves. Nobody asks for these shapes here.
    """
    functions = graph_pb2.GraphDef(library=graph_def.library, versions=graph_def.versions)
    names = {function.signature.name for function in graph_def.library.function}
    # Graphs of TensorFlow 1 call a function by a node of its name, which is no operation until the function is known.
    if not any(node.op in names for node in graph_def.node):
        graph_def.ClearField("library")
    tf.import_graph_def(graph_def, name="")
    if not graph_def.HasField("library"):
        tf.import_graph_def(functions, name="")


def _init_op_name(meta_graph: meta_graph_pb2.MetaGraphDef) -> str | None:
    if INIT_OP in meta_graph.signature_def:
        return str(meta_graph.signature_def[INIT_OP].outputs[INIT_OP].name)
    for collection in ("saved_model_main_op", "legacy_init_op"):
        if collection in meta_graph.collection_def:
            return str(meta_graph.collection_def[collection].node_list.value[0])
    return None
