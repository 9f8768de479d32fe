"""The two papers with which a site joins the transport: its request, and what the coordinator sends back.

Each is signed with a roster key, so that people may carry it by mail: a request that a site did not make is not
answered, and a CA that the coordinator did not send is not trusted. Nothing in them is secret.

Order of calls: ``write_paper`` at one end, ``read_paper`` at the other.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...governance.canonical import canonical_bytes
from ...governance.errors import GovernanceError
from ...governance.signing.keys import PublicKey, SigningKey
from ..bodies import SiteId
from ..errors import BadInputError, Refused

CONTEXT = b"sekisho-enrolment-v1\x00"  # domain separation: no other signed thing starts so
LONGEST_PAPER = 64 * 1024  # three certificates are 6 KiB
Pem = Annotated[str, Field(max_length=16 * 1024, pattern=r"^-----BEGIN CERTIFICATE( REQUEST)?-----\n")]
HOST = r"[A-Za-z0-9.-]{1,253}"
StudyId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Request(BaseModel):
    """A site asks the coordinator for a certificate."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: Literal["engine-request"] = "engine-request"
    study: StudyId
    site: SiteId
    csr: Pem


class Bundle(BaseModel):
    """The coordinator answers: who vouches, for whom, and where its server is."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: Literal["engine-bundle"] = "engine-bundle"
    study: StudyId
    site: SiteId
    certificate: Pem
    ca: Pem
    host: Annotated[str, Field(pattern=rf"^{HOST}$")]
    port: Annotated[int, Field(ge=1, le=65535)]


Paper = TypeVar("Paper", Request, Bundle)


def write_paper(paper: Request | Bundle, key: SigningKey) -> bytes:
    """``paper`` signed with ``key``, as it is sent: one line of JSON."""
    body = paper.model_dump(mode="json")
    signature = key.sign(CONTEXT + canonical_bytes(body)).hex()
    return canonical_bytes({"paper": body, "signature": signature}) + b"\n"


def read_paper(data: bytes, kind: type[Paper], key: PublicKey, *, by: str) -> Paper:
    """What ``by``, whose key ``key`` is, signed. Raises ``BadInputError`` for no paper, ``Refused`` for another's."""
    # 1. a bounded piece of JSON with a signature
    if len(data) > LONGEST_PAPER:
        raise BadInputError("ENGINE_PAPER", "the paper is longer than any such paper")
    try:
        found = json.loads(data)
        body, signature = found["paper"], bytes.fromhex(found["signature"])
        signed = CONTEXT + canonical_bytes(body)
    except (ValueError, KeyError, TypeError, AttributeError, GovernanceError):
        raise BadInputError(
            "ENGINE_PAPER",
            "this is not a paper for joining the transport",
            hint="take the file as it was sent: <site>.request goes to the coordinator, <site>.bundle comes back",
        ) from None
    # 2. by whom it should be
    try:
        key.verify(signature, signed)
    except GovernanceError:
        raise Refused(
            "ENGINE_PAPER_FORGED",
            f"the paper is not signed by '{by}'",
            hint="compare the roster's fingerprint on both machines, and ask its sender",
        ) from None
    # 3. of a known form
    try:
        return kind.model_validate(body)
    except ValidationError:
        raise BadInputError("ENGINE_PAPER", "the signed paper is not of the form that is expected here") from None
