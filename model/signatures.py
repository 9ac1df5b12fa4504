"""The signatures of the servable."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from model.config import TwinConfig
from model.history import CLUSTER_SIZE, history_columns
from model.input_checks import check_least, check_ranks, check_shapes, check_size
from model.item_table import ITEM_ID
from model.ranker import TwinRanker
from model.request import RawBatch
from model.schema import DatasetSchema
from model.windows import cut_window, user_example_spec

Spec = Mapping[str, tf.TensorSpec]
_REQUEST_AXES = {"history/length": "[B]", "history/": "[B, L]", "candidate/": "[B, N]"}


def request_spec(schema: DatasetSchema, clustered: bool = False) -> dict[str, tf.TensorSpec]:
    """Names, shapes and types of a request: one user's history, N candidates, user and context features.

    Args:
        schema: The data set's columns.
        clustered: Whether the history is clustered, and has sizes.
    """
    matrix, vector = [None, None], [None]
    spec = {
        "history/length": tf.TensorSpec(vector, tf.int64),
        "candidate/item_id": tf.TensorSpec(matrix, tf.int64),
        "request/timestamp": tf.TensorSpec(vector, tf.int64),
    }
    spec |= {f"history/{name}": tf.TensorSpec(matrix, t) for name, t in history_columns(schema, clustered).items()}
    spec |= {f"user/{f.name}": tf.TensorSpec(vector, f.dtype) for f in schema.user}
    spec |= {f"context/{f.name}": tf.TensorSpec(vector, f.dtype) for f in schema.context}
    return spec


def catalog_spec(schema: DatasetSchema) -> dict[str, tf.TensorSpec]:
    """Names, shapes and types of a batch of raw catalog rows."""
    spec = {"item_id": tf.TensorSpec([None], tf.int64)}
    for feature in schema.inherent:
        spec[feature.name] = tf.TensorSpec([None, None] if feature.multi_hot else [None], feature.dtype)
        if feature.multi_hot:
            spec[f"{feature.name}/length"] = tf.TensorSpec([None], tf.int64)
    return spec


class Signatures:
    """What a servable answers to, over a trained ranker.

    Attributes:
        functions: Signature name to function.

    Args:
        ranker: The trained model.
        schema: Names and types of the inputs.
    """

    def __init__(self, ranker: TwinRanker, schema: DatasetSchema) -> None:
        self._schema, self._ranker = schema, ranker
        request, catalog = request_spec(schema, ranker.config.clustered), catalog_spec(schema)
        self.functions = {
            "serving_default": _named(self._scores, request),
            "explain": _named(self._explain, request),
            "project_items": _named(self._project_items, catalog),
            "serve_examples": tf.function(
                self._serve_examples,
                input_signature=[tf.TensorSpec([None], tf.string, name="examples")],
                autograph=False,
            ),
        }

    def _scores(self, inputs: RawBatch) -> dict[str, tf.Tensor]:
        return {"pctr": self._ranker(_checked_request(inputs, self._schema, self._ranker.config))}

    def _explain(self, inputs: RawBatch) -> dict[str, tf.Tensor]:
        request = _checked_request(inputs, self._schema, self._ranker.config)
        logits, interest = self._ranker.score(request)
        found = interest.position >= 0
        history = tf.pad(request["history/item_id"], [[0, 0], [0, 1]])  # [B, L + 1]: position 0 exists always
        item_id = tf.gather(history, tf.maximum(interest.position, 0), batch_dims=1)
        return {
            "pctr": tf.sigmoid(logits),
            "retrieved/position": interest.position,
            "retrieved/item_id": tf.where(found, item_id, 0),
            "retrieved/relevance": interest.attended.relevance,
            "retrieved/attention": interest.attended.attention,
        }

    def _project_items(self, inputs: RawBatch) -> dict[str, tf.Tensor]:
        index = self._ranker.request_encoder.items(_checked_catalog(inputs, self._schema))
        projection = self._ranker.long_term.project(index)
        return {"projection": projection, **{f"index/{name}": values for name, values in index.items()}}

    def _serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.map_fn(
            self._score_user, examples, fn_output_signature=tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0)
        )
        return {"pctr": scores.to_tensor(0.0)}

    def _score_user(self, serialized: tf.Tensor) -> tf.Tensor:
        """Scores float32 [T] of one per-user Example's targets, window by window: one window bounds the memory."""
        spec = user_example_spec(self._schema, self._ranker.config.clustered)
        example = tf.io.parse_single_example(serialized, spec)
        size = self._ranker.config.targets_per_window
        targets = tf.size(example["target/item_id"])

        def score_window(start: tf.Tensor) -> tf.Tensor:
            window = cut_window(example, start, self._schema, self._ranker.config)
            batch = {name: values[tf.newaxis] for name, values in window.items()}
            scores = self._ranker(batch)[0]
            return tf.pad(scores, [[0, size - tf.size(scores)]])

        windows = tf.map_fn(
            score_window,
            tf.range(0, targets, size),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
            parallel_iterations=1,
        )
        return tf.reshape(windows, [-1])[:targets]


def _named(function: Callable[[RawBatch], dict[str, tf.Tensor]], spec: Spec) -> tf.function:
    # Unknown shapes: a placeholder that promises a rank lets the optimiser fold the rank check away.
    unknown = {name: tf.TensorSpec(None, s.dtype, name=name) for name, s in spec.items()}
    return tf.function(function, input_signature=[unknown], autograph=False)


def _checked_request(inputs: RawBatch, schema: DatasetSchema, config: TwinConfig) -> dict[str, tf.Tensor]:
    checked = check_ranks(inputs, {name: _axes(name) for name in request_spec(schema, config.clustered)})
    history = [name for name in checked if name.startswith("history/") and name != "history/length"]
    checked = check_shapes(checked, "history/item_id", history, {"history/length": "history/item_id"})
    if config.clustered:
        checked = check_least(checked, f"history/{CLUSTER_SIZE}", 1, "history/length")
    return check_size(checked, "candidate/item_id", config.max_candidates)


def _checked_catalog(inputs: RawBatch, schema: DatasetSchema) -> dict[str, tf.Tensor]:
    checked = check_ranks(
        inputs, {name: "[M, W]" if spec.shape.rank == 2 else "[M]" for name, spec in catalog_spec(schema).items()}
    )
    return check_shapes(checked, ITEM_ID, [], {f"{f.name}/length": f.name for f in schema.inherent if f.multi_hot})


def _axes(name: str) -> str:
    return next((axes for prefix, axes in _REQUEST_AXES.items() if name.startswith(prefix)), "[B]")
