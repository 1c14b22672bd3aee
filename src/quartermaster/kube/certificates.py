"""Certificates of our own: an authority, what it signs for a server, and when those of a webhook are made anew.

The authority's key is kept, so that a new serving certificate needs no new trust. When the authority itself runs out,
a new one is put before it and both are trusted, so that replicas may change over one after the other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DAY: Final = 86_400.0
AUTHORITY_DAYS: Final = 3650
SERVING_DAYS: Final = 90
RENEW_SERVING: Final = 30 * DAY
RENEW_AUTHORITY: Final = 365 * DAY
_AUTHORITY: Final = "quartermaster-webhook-ca"
_SKEW: Final = 3600.0
"""Certificates begin this much earlier: clocks differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """PEM texts. `authorities` is what is trusted, the newest first; `authority_key` is the newest one's."""

    authorities: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes


def renewed(there: Material | None, *, names: Sequence[str], now: float) -> Material | None:
    """What is to be used instead of what is there; None if that is good for a while and for these names."""
    known = _parsed(there)
    if known is None:
        return _made(*authority(_AUTHORITY, now=now, days=AUTHORITY_DAYS), b"", names=names, now=now)
    authorities, signing, served = known
    if _left(authorities[0], now) < RENEW_AUTHORITY:
        return _made(*authority(_AUTHORITY, now=now, days=AUTHORITY_DAYS), pem(authorities[0]), names=names, now=now)
    lasts = _left(served, now) >= RENEW_SERVING
    if lasts and _names(served) == set(names) and _signed_by(served, authorities[0]):
        return None
    older = b"".join(pem(one) for one in authorities[1:] if _left(one, now) > 0)
    return _made(authorities[0], signing, older, names=names, now=now)


def _parsed(
    there: Material | None,
) -> tuple[list[x509.Certificate], EllipticCurvePrivateKey, x509.Certificate] | None:
    """The texts as what they say; None if they are no such thing or do not belong together."""
    from cryptography import x509  # noqa: PLC0415  # slow to import, and only some processes serve
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    if there is None:
        return None
    try:
        authorities = x509.load_pem_x509_certificates(there.authorities)
        signing: Any = load_pem_private_key(there.authority_key, None)
        served = x509.load_pem_x509_certificate(there.certificate)
        key = load_pem_private_key(there.key, None)
    except (ValueError, TypeError):
        return None
    belong = signing.public_key() == authorities[0].public_key() and key.public_key() == served.public_key()
    return (authorities, signing, served) if belong else None


def _left(certificate: x509.Certificate, now: float) -> float:
    return certificate.not_valid_after_utc.timestamp() - now


def _signed_by(served: x509.Certificate, issuer: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        served.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _names(served: x509.Certificate) -> set[str]:
    from cryptography import x509  # noqa: PLC0415

    found = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(one.value) for one in found}


def authority(common: str, *, now: float, days: int) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """A new authority of that name, which signs for servers and for no other authority, and its key."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    name = _name(common)
    made = (
        _builder(name, name, key, now=now, days=days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made, key


def serving(
    common: str,
    issuer: x509.Certificate,
    signing: EllipticCurvePrivateKey,
    *,
    names: Sequence[str],
    now: float,
    days: int,
) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """A new certificate of a server that is reached by these names and addresses, signed by `issuer`, and its key."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        _builder(_name(common), issuer.subject, key, now=now, days=days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .sign(signing, hashes.SHA256())
    )
    return made, key


def pem(certificate: x509.Certificate) -> bytes:
    """The certificate as text."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return certificate.public_bytes(Encoding.PEM)


def _made(
    issuer: x509.Certificate, signing: EllipticCurvePrivateKey, older: bytes, *, names: Sequence[str], now: float
) -> Material:
    made, key = serving("quartermaster-webhook", issuer, signing, names=names, now=now, days=SERVING_DAYS)
    return Material(authorities=pem(issuer) + older, authority_key=_key(signing), certificate=pem(made), key=_key(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, *, now: float, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415

    start = dt.datetime.fromtimestamp(now - _SKEW, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
    )


def _name(common: str) -> x509.Name:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(name: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
