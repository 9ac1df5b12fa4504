"""Throw-away certificates for the TLS cases, and the ssl_config_file that names them."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Pair = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def write_certificates(directory: Path) -> None:
    """Writes an authority `ca.pem`, a client's `client.pem` and `client.key`, and `ssl.config` with mutual TLS.

    Args:
        directory: Where; the certificates hold for 127.0.0.1 and a day.
    """
    authority = _make("conformance authority", None)
    server, client = _make("localhost", authority), _make("client", authority)
    (directory / "ca.pem").write_text(_certificate_text(authority))
    (directory / "client.pem").write_text(_certificate_text(client))
    (directory / "client.key").write_text(_key_text(client))
    entries = {
        "server_key": _key_text(server),
        "server_cert": _certificate_text(server),
        "custom_ca": _certificate_text(authority),
    }
    lines = [f'{name}: "{text.encode("unicode_escape").decode()}"' for name, text in entries.items()]
    (directory / "ssl.config").write_text("\n".join([*lines, "client_verify: true", ""]))


def _make(name: str, authority: Pair | None) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority[1].subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if authority is not None:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(authority[0] if authority else key, hashes.SHA256())


def _certificate_text(pair: Pair) -> str:
    return pair[1].public_bytes(serialization.Encoding.PEM).decode()


def _key_text(pair: Pair) -> str:
    return (
        pair[0]
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )
