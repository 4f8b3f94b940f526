"""A certificate for localhost, made for one test run."""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class TlsPair:
    """What the server presents, and what a client must trust to believe it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@cache
def server_tls() -> TlsPair:
    """A self-signed pair of contexts."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key).public_bytes(serialization.Encoding.PEM)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(certificate + _pem(key))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(path)
    return TlsPair(server, ssl.create_default_context(cadata=certificate.decode()))


@dataclass(frozen=True)
class MutualTls:
    """A server that lets in nobody without our certificate, and the files a client needs for it."""

    server: ssl.SSLContext
    certificate: Path
    key: Path
    authority: Path


def mutual_tls(folder: Path) -> MutualTls:
    """Make a certificate that both sides show and trust, as files in a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = MutualTls(
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        folder / "certificate.pem",
        folder / "key.pem",
        folder / "authority.pem",
    )
    pem = _certificate(key).public_bytes(serialization.Encoding.PEM)
    made.certificate.write_bytes(pem)
    made.authority.write_bytes(pem)
    made.key.write_bytes(_pem(key))
    made.server.load_cert_chain(made.certificate, made.key)
    made.server.load_verify_locations(made.authority)
    made.server.verify_mode = ssl.CERT_REQUIRED
    return made


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
