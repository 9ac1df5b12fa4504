"""TLS of the gRPC port."""

from pathlib import Path

import grpc

from serving.server.config_messages import SSLConfig
from serving.server.text_proto import TextProtoError, read_text_proto

_BEGIN = "-----BEGIN "


def read_server_credentials(file: Path) -> grpc.ServerCredentials:
    """Reads a text proto `SSLConfig`: the server's key and certificate, and whom it trusts.

    Fields (all PEM text, not paths): `server_key`, `server_cert`, `custom_ca` (the authorities whose client
    certificates are taken) and `client_verify` (true: clients must show one).

    Raises:
        TextProtoError: The file cannot be read or parsed, a PEM text is missing or none, or `client_verify` comes
            without `custom_ca`.
    """
    config = read_text_proto(file, SSLConfig())
    for name in ("server_key", "server_cert"):
        _check_pem(file, name, getattr(config, name))
    if config.custom_ca:
        _check_pem(file, "custom_ca", config.custom_ca)
    elif config.client_verify:
        raise TextProtoError(
            f"{file}: client_verify needs custom_ca, the authority that signs the clients' certificates"
        )
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _check_pem(file: Path, name: str, text: str) -> None:
    if _BEGIN not in text:
        what = "is missing" if not text else "is not PEM"
        raise TextProtoError(f"{file}: {name} {what}; expected the text of a PEM file, from '{_BEGIN}...' on")
