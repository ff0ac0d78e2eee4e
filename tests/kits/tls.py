"""Certificates for tests: an authority, what it signs, and contexts of servers with its certificates."""

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from embryofl.clinic_keys import sign
from embryofl.membership import HubContact, SignedContact, contact_text


class Authority:
    """Signs certificates, each valid for an hour before and after its moment. `pem` is its own, `leaf` the newest server's key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=test authority")
        self.pem = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0)).decode()

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType, days: float = 0
    ) -> bytes:
        moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        hour = datetime.timedelta(hours=1)
        certificate = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(moment - hour)
            .not_valid_after(moment + hour)
            .add_extension(extension, critical=False)
        )
        return certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def context(self, folder: Path, name: str, days: float = 0) -> ssl.SSLContext:
        """Of a server that shows a certificate for `name`, made `days` from now (negative: in the past)."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = self._sign(x509.Name([]), key, x509.SubjectAlternativeName([x509.DNSName(name)]), days)
        self.leaf = key
        path = folder / f"{name}-{x509.random_serial_number()}.pem"
        path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def signed(self, contact: HubContact) -> SignedContact:
        """A statement of this authority."""
        return signed_with(self._key, contact)


def signed_with(key: ec.EllipticCurvePrivateKey, contact: HubContact) -> SignedContact:
    """A statement signed with any key."""
    return SignedContact(contact=contact, signature=sign(key, contact_text(contact)))
