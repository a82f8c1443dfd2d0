"""The keys of one control plane: an authority, the certificates it signs, and the key of service account tokens."""

import datetime as dt
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

VALID = dt.timedelta(days=365)


class Authority:
    """Signs certificates into a folder. `certificate` is its own, for those who are to trust it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _name("control plane of a test")
        self.certificate = folder / "ca.crt"
        root = _certificate(self._name, self._name, self._key.public_key())
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate.write_bytes(_pem(root.sign(self._key, hashes.SHA256())))

    def issue(
        self, name: str, addresses: Sequence[str] = ("127.0.0.1",), hosts: Sequence[str] = (), group: str | None = None
    ) -> tuple[Path, Path]:
        """Write a certificate and its key, and return the two paths: a server's for its addresses and names, a client's for its group."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [*(x509.IPAddress(ip_address(address)) for address in addresses), *map(x509.DNSName, hosts)]
        draft = _certificate(_name(name, group), self._name, key.public_key())
        draft = draft.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = self._folder / f"{name}.crt"
        certificate.write_bytes(_pem(draft.sign(self._key, hashes.SHA256())))
        return certificate, _write_key(self._folder / f"{name}.key", key)


def token_key(path: Path) -> Path:
    """Write a new key that signs and verifies service account tokens."""
    return _write_key(path, rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _name(text: str, group: str | None = None) -> x509.Name:
    """A user by name, and by the group that Kubernetes reads from the organisation."""
    groups = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*groups, x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    plain = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain))
    path.chmod(0o600)
    return path
