"""Compares a servable's answers to recorded ones; run as a file in a process of its own, imports none of this project.

Usage: python -I compare_in_fresh_process.py SERVABLE. Prints one JSON object: the number of warm-up requests, and the
largest difference to their recorded answers.
"""

import json
import sys

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


def main(servable: str) -> None:
    """Loads the servable, answers every recorded request and prints how far the answers are from the recorded ones."""
    signatures = tf.saved_model.load(servable).signatures
    requests, difference = 0, 0.0
    for record in tf.data.TFRecordDataset(f"{servable}/assets.extra/tf_serving_warmup_requests").as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        function = signatures[log.request.model_spec.signature_name]
        parameters = {spec.name: parameter for parameter, spec in function.structured_input_signature[1].items()}
        inputs = {parameters[name]: tf.constant(tf.make_ndarray(value)) for name, value in log.request.inputs.items()}
        outputs = function(**inputs)
        for name, value in log.response.outputs.items():
            recorded = tf.make_ndarray(value)
            gaps = np.abs(outputs[name].numpy() - recorded)
            # NaN compares as false; as a difference it must count as the largest.
            difference = max(difference, float(np.where(np.isfinite(gaps), gaps, np.inf).max(initial=0.0)))
        requests += 1
    print(json.dumps({"requests": requests, "largest_difference": difference}))


if __name__ == "__main__":
    main(sys.argv[1])
