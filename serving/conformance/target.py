"""The server under test, as the cases see it."""

import http.client
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.tensors import encode

if TYPE_CHECKING:
    from serving.conformance.launch import Launcher, Running

_MAX_MESSAGE = 2**31 - 1
_SHOWN = 600


class Unavailable(Exception):  # noqa: N818 - no error: the case is skipped
    """A case that cannot be shown on this server; the message says what is missing."""


@dataclass(frozen=True)
class RestAnswer:
    """An HTTP answer.

    Attributes:
        sent: The request, shortened.
        status: The code.
        headers: Names in lower case.
        body: As received.
    """

    sent: str
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body parsed; NaN and Infinity are let through, as the reference writes them."""
        return json.loads(self.body)

    def shown(self) -> str:
        """The answer as a report prints it."""
        return shorten(f"{self.status} {self.body.decode(errors='backslashreplace')}")


@dataclass(frozen=True)
class RpcAnswer:
    """The end of a gRPC call.

    Attributes:
        sent: The request, shortened.
        code: Name of the status code.
        details: Its message.
        message: The response, None unless the code is OK.
    """

    sent: str
    code: str
    details: str
    message: Any

    def shown(self) -> str:
        """The answer as a report prints it."""
        return one_line(self.message) if self.code == "OK" else shorten(f"{self.code}: {self.details}")


@dataclass
class Target:
    """A running server and what may be done with it.

    Attributes:
        grpc_address: host:port or None.
        rest_address: host:port or None.
        directory: The directory of its models and configuration, None = the files are not ours to change.
        launcher: Starts further servers of the same kind, None = only this one is known.
        server: Its process, where the suite started it.
        patience_s: How long a change of files may take to show.
    """

    grpc_address: str | None
    rest_address: str | None
    directory: Path | None = None
    launcher: "Launcher | None" = None
    server: "Running | None" = None
    patience_s: float = 30.0
    _channel: grpc.Channel | None = field(default=None, init=False, repr=False)

    @property
    def files(self) -> Path:
        """The directory of the server's models, where a case may change it."""
        if self.directory is None:
            raise Unavailable("changes the server's files: give their directory with --models")
        return self.directory

    @property
    def channel(self) -> grpc.Channel:
        """The gRPC channel; kept open."""
        if self.grpc_address is None:
            raise Unavailable("asks over gRPC: give the address with --grpc")
        if self._channel is None:
            lengths = [
                ("grpc.max_receive_message_length", _MAX_MESSAGE),
                ("grpc.max_send_message_length", _MAX_MESSAGE),
            ]
            self._channel = grpc.insecure_channel(self.grpc_address, options=lengths)
        return self._channel

    def use_channel(self, channel: grpc.Channel) -> None:
        """Takes this channel instead of an insecure one."""
        self.close()
        self._channel = channel

    @property
    def starter(self) -> "Launcher":
        """What starts servers with other flags, where a case may do so."""
        if self.launcher is None:
            raise Unavailable("needs a server with other flags: give the program with --server")
        return self.launcher

    @property
    def own_server(self) -> "Running":
        """The server's process; cases that ask for it are given a server that the suite started."""
        assert self.server is not None
        return self.server

    def close(self) -> None:
        """Closes the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    # --- REST ---

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> RestAnswer:
        """Sends an HTTP request, the path as it stands."""
        if self.rest_address is None:
            raise Unavailable("asks over REST: give the address with --rest")
        connection = http.client.HTTPConnection(self.rest_address, timeout=60)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        shown_headers = "".join(f"\n{name}: {value}" for name, value in (headers or {}).items())
        sent = shorten(f"{method} {path}{shown_headers}\n{body.decode(errors='backslashreplace')}".rstrip())
        names = {name.lower(): value for name, value in response.getheaders()}
        return RestAnswer(sent, response.status, names, content)

    def get(self, path: str) -> RestAnswer:
        """GET."""
        return self.ask("GET", path)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> RestAnswer:
        """POST; `body` is sent as it is when it is text or bytes, else as JSON."""
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        return self.ask("POST", path, content, headers)

    # --- gRPC ---

    def call(self, method: Callable[..., Any], request: Message, timeout_s: float = 60.0) -> RpcAnswer:
        """Calls a method of a stub, and gives its answer or its error."""
        sent = f"{type(request).__name__} {one_line(request)}"
        try:
            return RpcAnswer(sent, "OK", "", method(request, timeout=timeout_s))
        except grpc.RpcError as error:
            return RpcAnswer(sent, error.code().name, error.details() or "", None)

    @property
    def prediction(self) -> prediction_service_pb2_grpc.PredictionServiceStub:
        """PredictionService."""
        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @property
    def models(self) -> model_service_pb2_grpc.ModelServiceStub:
        """ModelService."""
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(
        self,
        inputs: dict[str, Any],
        model: str = "toy",
        output_filter: Sequence[str] = (),
        timeout_s: float = 60.0,
        **spec: Any,
    ) -> RpcAnswer:
        """Predict with arrays; `spec` is version, label and signature."""
        request = predict_pb2.PredictRequest(model_spec=model_spec(model, **spec), output_filter=output_filter)
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(encode(np.asarray(value)))
        return self.call(self.prediction.Predict, request, timeout_s)

    def factor(self, model: str, timeout_s: float = 60.0, **spec: Any) -> float | str:
        """What a fixture model multiplies by, which tells its version; or what came instead."""
        answer = self.predict({"x": np.ones([1], np.float32)}, model, timeout_s=timeout_s, **spec)
        if answer.code != "OK":
            return answer.code
        values = answer.message.outputs["y"].float_val
        return values[0] if values else "no y"

    def status(self, model: str, **spec: Any) -> RpcAnswer:
        """GetModelStatus."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_spec(model, **spec))
        return self.call(self.models.GetModelStatus, request)

    def states(self, model: str) -> dict[int, str]:
        """The state of each version of a model; empty when it is unknown."""
        answer = self.status(model)
        if answer.code != "OK":
            return {}
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return {one.version: name(one.state) for one in answer.message.model_version_status}

    def metadata(self, model: str, fields: Sequence[str] = ("signature_def",), **spec: Any) -> RpcAnswer:
        """GetModelMetadata."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=model_spec(model, **spec), metadata_field=fields
        )
        return self.call(self.prediction.GetModelMetadata, request)

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Whether the condition comes true within the patience."""
        end = time.monotonic() + self.patience_s
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True


def model_spec(
    name: str, version: int | None = None, label: str | None = None, signature: str = ""
) -> model_pb2.ModelSpec:
    """The model_spec of a request."""
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def shorten(text: str) -> str:
    """Text cut to what a report can show."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def one_line(message: Message) -> str:
    """A message in one line, shortened before it is formatted where it is large."""
    if message.ByteSize() > 100_000:
        return f"<{message.ByteSize()} bytes>"
    return shorten(text_format.MessageToString(message, as_one_line=True))
