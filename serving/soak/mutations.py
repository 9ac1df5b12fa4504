"""Requests that are wrong in many ways, made from right ones by a seeded generator."""

import base64
import gzip
import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from google.protobuf.message import Message
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.soak.model import NAME
from serving.tensors import decode

_PREDICTION = "/tensorflow.serving.PredictionService/"
_NAMES = ["", NAME, "x", "..", "../../etc/passwd", "soak/1", "%2e%2e", "a\x00b", "é" * 40, "m" * 3000]
_NUMBERS = [0, 1, -1, 2, 7, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63)]
_SIGNATURES = ["", "serving_default", "work", "counts", "__saved_model_init_op", "no such"]
_LEAVES: list[Any] = [
    *(None, True, False, "", "text", "NaN", 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, -0.0),
    *(float("nan"), float("inf"), {"b64": "AAAA"}, {"b64": "%"}, {"b64": 1}, {}, []),
]
_PIECES = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u", b"\x00", b"\xff", b"NaN", b"1e999", b"-", b"[[[[[[[["]
_VERBS = ["predict", "classify", "regress", "metadata", "PREDICT", ""]


@dataclass(frozen=True)
class GrpcRequest:
    """A call: its method and the bytes of its message."""

    method: str
    message: bytes


@dataclass(frozen=True)
class RestRequest:
    """An HTTP request."""

    verb: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Mutations:
    """An endless supply; the same seed gives the same requests.

    HandleReloadConfigRequest is left out: taken as it is meant, it would replace the model under test.

    Args:
        valid: A request that the server answers.
        seed: Of the generator.
    """

    def __init__(self, valid: predict_pb2.PredictRequest, seed: int) -> None:
        self._random = Random(seed)
        self._valid = valid
        arrays = {name: decode(proto) for name, proto in valid.inputs.items()}
        self._columns = {name: _plain(array.tolist()) for name, array in arrays.items()}
        self._rows = [
            {name: column[row] for name, column in self._columns.items()}
            for row in range(min((len(array) for array in arrays.values() if array.ndim), default=0))
        ]

    def next(self) -> GrpcRequest | RestRequest:
        """The next request."""
        return self._grpc() if self._random.random() < 0.5 else self._rest()

    def _grpc(self) -> GrpcRequest:
        kind = self._random.random()
        if kind < 0.7:
            message: Message = self._predict()
            method = _PREDICTION + "Predict"
        else:
            method, message = self._other_call()
        content = message.SerializeToString()
        return GrpcRequest(method, self._bytes(content) if self._random.random() < 0.25 else content)

    def _predict(self) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.CopyFrom(self._valid)
        for _ in range(self._random.randint(1, 3)):
            self._spoil(request)
        return request

    def _spoil(self, request: predict_pb2.PredictRequest) -> None:
        random = self._random
        names = sorted(request.inputs)
        step = random.randrange(8)
        if step == 0:
            request.output_filter.append(random.choice(["score", "no such", ""]))
        elif step == 1:
            self._spoil_spec(request.model_spec)
        elif step == 2 and names:
            del request.inputs[random.choice(names)]
        elif step == 3 and names:
            request.inputs[random.choice(_NAMES)].CopyFrom(request.inputs[random.choice(names)])
        elif names:
            self._spoil_tensor(request.inputs[random.choice(names)])

    def _spoil_spec(self, spec: Any) -> None:
        random = self._random
        step = random.randrange(4)
        if step == 0:
            spec.name = random.choice(_NAMES)
        elif step == 1:
            spec.signature_name = random.choice([*_SIGNATURES, *_NAMES])
        elif step == 2:
            spec.version.value = random.choice(_NUMBERS)
        else:
            spec.version_label = random.choice(_NAMES)

    def _spoil_tensor(self, tensor: tensor_pb2.TensorProto) -> None:
        random = self._random
        step = random.randrange(7)
        if step == 0:
            tensor.dtype = random.choice([*types_pb2.DataType.values(), 77, -1])
        elif step == 1 and tensor.tensor_shape.dim:
            random.choice(tensor.tensor_shape.dim).size = random.choice(_NUMBERS)
        elif step == 2:
            tensor.tensor_shape.dim.add(size=random.choice(_NUMBERS))
        elif step == 3 and tensor.tensor_shape.dim:
            del tensor.tensor_shape.dim[-1]
        elif step == 4:
            tensor.tensor_content = self._bytes(tensor.tensor_content)
        elif step == 5:
            tensor.ClearField("tensor_content")
            tensor.float_val.extend([random.random()] * random.randrange(3))
        else:
            tensor.tensor_shape.unknown_rank = True

    def _other_call(self) -> tuple[str, Message]:
        random = self._random
        calls: list[tuple[str, Any]] = [
            (_PREDICTION + "Classify", classification_pb2.ClassificationRequest()),
            (_PREDICTION + "Regress", regression_pb2.RegressionRequest()),
            (_PREDICTION + "MultiInference", inference_pb2.MultiInferenceRequest()),
            (_PREDICTION + "GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest()),
            ("/tensorflow.serving.ModelService/GetModelStatus", get_model_status_pb2.GetModelStatusRequest()),
            (_PREDICTION + "NoSuchMethod", predict_pb2.PredictRequest()),
        ]
        method, message = random.choice(calls)
        if isinstance(message, inference_pb2.MultiInferenceRequest):
            for _ in range(random.randrange(3)):
                task = message.tasks.add(method_name=random.choice(["", "tensorflow/serving/regress", "x"]))
                task.model_spec.name = NAME
                self._spoil_spec(task.model_spec)
        elif random.random() < 0.9:
            message.model_spec.name = NAME
            self._spoil_spec(message.model_spec)
        if hasattr(message, "input"):
            self._examples(message.input)
        if hasattr(message, "metadata_field"):
            message.metadata_field.extend(random.choices(["signature_def", "x", ""], k=random.randrange(3)))
        return method, message

    def _examples(self, examples: input_pb2.Input) -> None:
        for _ in range(self._random.randrange(3)):
            feature = examples.example_list.examples.add().features.feature[self._random.choice(["x", "", "key"])]
            feature.float_list.value.extend([1.0] * self._random.randrange(3))

    def _rest(self) -> RestRequest:
        random = self._random
        document: dict[str, Any] = {"signature_name": "serving_default"} if random.random() < 0.3 else {}
        if random.random() < 0.5:
            document["instances"] = self._rows
        else:
            document["inputs"] = self._columns
        document = json.loads(json.dumps(document))
        for _ in range(random.randrange(4)):
            self._replace(document)
        body = json.dumps(document).encode()
        if random.random() < 0.4:
            body = self._bytes(body)
        path = f"/v1/models/{NAME}:predict"
        verb = "POST"
        headers = {}
        if random.random() < 0.2:
            verb = random.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS"])
            path = f"/v1/models/{random.choice([NAME, 'no', '..', '%2e%2e%2fetc', 'a%00b', ''])}"
            path += random.choice(["", "/versions/1", "/versions/99999999999999999999", "/labels/x", "/metadata", "/"])
            path += random.choice(["", ":" + random.choice(_VERBS)])
        if random.random() < 0.1:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body) if random.random() < 0.5 else body
        return RestRequest(verb, path, body, headers)

    def _replace(self, node: Any) -> None:
        """Puts a leaf, or something of the document, at a random place of it."""
        random = self._random
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                return
            place = random.choice(places)
            inner = node[place]
            if isinstance(inner, dict | list) and inner and random.random() < 0.8:
                node = inner
                continue
            step = random.randrange(3)
            if step == 0:
                node[place] = random.choice(_LEAVES)
            elif step == 1:
                del node[place]
            else:
                node[place] = [inner, inner]
            return

    def _bytes(self, content: bytes) -> bytes:
        """The bytes with some of them changed, cut out, doubled or put in."""
        random = self._random
        for _ in range(random.randint(1, 4)):
            at, other = sorted(random.randrange(len(content) + 1) for _ in range(2))
            step = random.randrange(5)
            if step == 0 and at < len(content):
                content = content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]
            elif step == 1:
                content = content[:at]
            elif step == 2:
                content = content[:other] + content[at:other] + content[other:]
            elif step == 3:
                content = content[:at] + random.choice(_PIECES) + content[at:]
            else:
                content = content[:at] + content[other:]
        return content


def _plain(value: Any) -> Any:
    """Lists as JSON takes them: bytes as text, or as base64 where they are none."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value
