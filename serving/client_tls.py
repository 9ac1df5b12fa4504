"""What a gRPC client needs to talk TLS."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from model.errors import UserError


class TlsError(UserError):
    """A key or certificate that cannot be used."""


@dataclass(frozen=True)
class Tls:
    """The client's side of TLS; the server's is its `ssl_config_file`.

    Attributes:
        ca: PEM file of the authorities that may have signed the server's certificate; None = gRPC's own list.
        cert, key: PEM files of the client's certificate and private key, for a server that verifies its clients.
        server_name: Name to look for in the server's certificate where it differs from the address.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The channel's credentials.

        Raises:
            TlsError: A file cannot be read or is no PEM, or one of `cert` and `key` is missing.
        """
        if (self.cert is None) != (self.key is None):
            raise TlsError(f"TLS needs both a client certificate and its key; got cert={self.cert}, key={self.key}")
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.cert))


def _pem(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TlsError(f"TLS file {path}: {error.strerror}") from None
    # gRPC would take any bytes, and every request would then fail without saying why.
    if b"-----BEGIN " not in content:
        raise TlsError(f"TLS file {path} is no PEM (it has no line -----BEGIN ...-----)")
    return content
