"""Certificates of one federation's transport: a CA at the coordinator's, and who it vouches for.

They open connections and nothing else: what travels is signed with roster keys, which are other keys. Each private key
is made where it is used and never leaves; what travels is a request and a certificate.

A site's certificate is good for a client alone and the server's for a server (extended key usage, RFC 5280 section
4.2.1.12): a site cannot pose as the server, although both are vouched for by one CA and FLARE compares no host names.

Order of calls: ``new_key`` and ``request`` at the owner's; ``authority`` and ``vouch`` at the coordinator's.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import BadInputError

KEY_BITS = 3072  # 128-bit security (NIST SP 800-57 part 1, table 2); FLARE signs its tokens with RSA and nothing else
CA_DAYS = 3650  # the federation's; who changes it enrols every site anew
DAYS = 365  # a site's or the server's; a year at most is what IT departments plan with
SKEW = timedelta(days=1)  # valid since yesterday: clocks of other machines may be behind
AUTHORITY = "sekisho-ca"


def new_key(path: Path) -> rsa.RSAPrivateKey:
    """The private key at ``path``, made where there is none; readable for its owner alone."""
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise BadInputError("ENGINE_KEY", f"{path.name} is not a key that NVIDIA FLARE can use")
        return key
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return key


def request(key: rsa.RSAPrivateKey, name: str) -> bytes:
    """A certificate request (PKCS #10, PEM) by who holds ``key`` and calls itself ``name``."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return built.public_bytes(serialization.Encoding.PEM)


def requested_key(csr: bytes, name: str) -> rsa.RSAPublicKey:
    """The key of a request that ``name`` made and that its holder signed. Raises ``BadInputError``."""
    try:
        read = x509.load_pem_x509_csr(csr)
    except ValueError:
        raise BadInputError("ENGINE_REQUEST", "the certificate request cannot be read") from None
    names = [str(attribute.value) for attribute in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    key = read.public_key()
    if names != [name] or not read.is_signature_valid or not isinstance(key, rsa.RSAPublicKey):
        raise BadInputError("ENGINE_REQUEST", f"the certificate request is not one of '{name}'")
    if key.key_size < KEY_BITS:
        raise BadInputError("ENGINE_REQUEST", f"the key of the certificate request has fewer than {KEY_BITS} bits")
    return key


def authority(folder: Path, now: datetime) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """The federation's CA in ``folder``, made where there is none."""
    key, path = new_key(folder / "ca.key"), folder / "ca.crt"
    if not path.exists():
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        built = _builder(name, name, key.public_key(), now, CA_DAYS)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        path.write_bytes(to_pem(built.add_extension(usage, critical=True).sign(key, hashes.SHA256())))
    return key, x509.load_pem_x509_certificate(path.read_bytes())


def vouch(
    ca: tuple[rsa.RSAPrivateKey, x509.Certificate],
    key: rsa.RSAPublicKey,
    *,
    name: str,
    organisation: str,
    now: datetime,
    role: str = "",
    host: str = "",
) -> x509.Certificate:
    """A certificate for ``key``: of the server at ``host``, or of a client. ``role`` is an administrator's at FLARE."""
    issuer_key, issuer = ca
    parts = [(NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, organisation)]
    if role:
        parts.append((NameOID.UNSTRUCTURED_NAME, role))
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if host else ExtendedKeyUsageOID.CLIENT_AUTH
    built = _builder(subject, issuer.subject, key, now, DAYS)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    built = built.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
    )
    if host:
        built = built.add_extension(x509.SubjectAlternativeName([_host(host)]), critical=False)
    return built.sign(issuer_key, hashes.SHA256())


def check_vouched(certificate: bytes, ca: bytes, key: rsa.RSAPrivateKey, *, name: str, now: datetime) -> None:
    """Raises ``BadInputError`` unless ``ca`` vouches, now, for ``key`` under ``name``. Both are PEM."""
    try:
        read, issuer = x509.load_pem_x509_certificate(certificate), x509.load_pem_x509_certificate(ca)
    except ValueError:
        raise BadInputError("ENGINE_CERTIFICATE", "a certificate cannot be read") from None
    # 1. it is for this key and this name
    names = [str(attribute.value) for attribute in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [name] or read.public_key() != key.public_key():
        raise BadInputError("ENGINE_CERTIFICATE", f"the certificate is not for the key of '{name}' on this machine")
    # 2. by this CA
    issuer_key = issuer.public_key()
    if not isinstance(issuer_key, rsa.RSAPublicKey) or read.signature_hash_algorithm is None:
        raise BadInputError("ENGINE_CERTIFICATE", "the certificate is not signed with RSA")
    try:
        issuer_key.verify(read.signature, read.tbs_certificate_bytes, padding.PKCS1v15(), read.signature_hash_algorithm)
    except InvalidSignature:
        raise BadInputError("ENGINE_CERTIFICATE", "the certificate is not signed by the CA beside it") from None
    # 3. and valid now
    if not read.not_valid_before_utc <= now < read.not_valid_after_utc:
        raise BadInputError(
            "ENGINE_CERTIFICATE", "the certificate is not valid now", hint="ask for another, and look at the clock"
        )


def to_pem(certificate: x509.Certificate) -> bytes:
    """As it is written to files."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
