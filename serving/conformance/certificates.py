"""Throw-away certificates, and the ssl_config_file that names them."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_HOST, _ADDRESS = "localhost", "127.0.0.1"


@dataclass(frozen=True)
class Identity:
    """A key and its certificate, as PEM text."""

    key: str
    certificate: str


class Authority:
    """Signs certificates for localhost and 127.0.0.1 that hold for a day.

    Attributes:
        certificate: Its own certificate, as PEM text.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("throw-away authority")
        self.certificate = self._sign(self._name, self._key, is_authority=True)

    def issue(self, name: str = _HOST) -> Identity:
        """Makes a key and signs its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Identity(text.decode(), self._sign(_named(name), key, is_authority=False))

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> str:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName(_HOST), x509.IPAddress(ipaddress.ip_address(_ADDRESS))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


def ssl_config(server: Identity, authority: str = "", client_verify: bool = False) -> str:
    """The content of an ssl_config_file.

    Args:
        server: The server's key and certificate.
        authority: Certificate of the authority whose clients are known; "" = none.
        client_verify: Clients must show a certificate.
    """
    fields = {"server_key": server.key, "server_cert": server.certificate, "custom_ca": authority}
    lines = [f'{name}: "{text.encode("unicode_escape").decode()}"' for name, text in fields.items() if text]
    return "\n".join([*lines, f"client_verify: {str(client_verify).lower()}", ""])


def write_certificates(directory: Path) -> None:
    """Writes an authority `ca.pem`, a client's `client.pem` and `client.key`, and `ssl.config` with mutual TLS."""
    authority = Authority()
    client = authority.issue("client")
    (directory / "ca.pem").write_text(authority.certificate)
    (directory / "client.pem").write_text(client.certificate)
    (directory / "client.key").write_text(client.key)
    (directory / "ssl.config").write_text(ssl_config(authority.issue(), authority.certificate, client_verify=True))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
