"""The configuration messages of TF Serving that its Python package does not bring."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

# Message -> field -> type. Names and types are those of ssl_config.proto, monitoring_config.proto and
# session_bundle_config.proto; field numbers do not appear in text files and are of no matter here.
_MESSAGES: dict[str, dict[str, str]] = {
    "SSLConfig": {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"},
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": ".tensorflow.serving.PrometheusConfig"},
    "BatchingParameters": {
        "max_batch_size": ".google.protobuf.Int64Value",
        "batch_timeout_micros": ".google.protobuf.Int64Value",
        "max_enqueued_batches": ".google.protobuf.Int64Value",
        "num_batch_threads": ".google.protobuf.Int64Value",
        "thread_pool_name": ".google.protobuf.StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": ".google.protobuf.BoolValue",
        "max_execution_batch_size": ".google.protobuf.Int64Value",
    },
}


def _message_classes() -> dict[str, Any]:
    # A pool of its own, so that a package which does bring these messages can be used beside it.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/server/config_messages.proto",
        package="tensorflow.serving",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
        syntax="proto3",
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, (field_name, kind) in enumerate(fields.items(), start=1):
            _add_field(message, number, field_name, kind)
    pool.AddSerializedFile(file.SerializeToString())
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"tensorflow.serving.{name}")) for name in _MESSAGES}


def _add_field(message: descriptor_pb2.DescriptorProto, number: int, name: str, kind: str) -> None:
    field = descriptor_pb2.FieldDescriptorProto
    type_name = kind.removeprefix("repeated ")
    label = field.LABEL_REPEATED if kind != type_name else field.LABEL_OPTIONAL
    if type_name.startswith("."):
        message.field.add(name=name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=type_name)
    else:
        scalar = {"string": field.TYPE_STRING, "bool": field.TYPE_BOOL, "int64": field.TYPE_INT64}[type_name]
        message.field.add(name=name, number=number, label=label, type=scalar)


_CLASSES = _message_classes()
# Messages made at run time have no static types.
SSLConfig: Any = _CLASSES["SSLConfig"]
MonitoringConfig: Any = _CLASSES["MonitoringConfig"]
BatchingParameters: Any = _CLASSES["BatchingParameters"]
