"""HL7 FHIR R4 Consent resources -> consent events, by one strict mapping; what it does not cover is refused by number.

For: a hospital that keeps consents as FHIR: a Bundle in one file, or one resource a line (ndjson, Bulk Data).
Not for: other releases of FHIR, and not for resources that say who a person is: the patient is a reference to an id
     that is a pseudonym already, and a resource with a name, an address or narrative text is refused, not cleaned.

Mapping (https://hl7.org/fhir/R4/consent.html): ``patient.reference`` is ``Patient/<pseudonym>``; ``scope`` must be
*research*; ``dateTime`` is when; ``policy[0].uri`` the notice. status *active* with ``provision.type`` *permit* is a
grant (from ``provision.period.start``, if that is later, until ``provision.period.end``), with *deny* a withdrawal;
status *inactive* or *rejected* is a withdrawal. Exceptions and limits (``provision.provision``, actors, purposes,
data, codes) would be lost in an event, so they are refused. The scope of our events is the study's and is given by the
importer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import BadDocumentError
from .record import ConsentEvent, EventKind
from .rows import Row, RowFormat, json_object, read_row, time_of

LONGEST_RESOURCE = 65_536       # bytes; a Consent without narrative is some 1,000
LONGEST_BUNDLE = 64 * 2**20     # bytes; a Bundle is one JSON document and is read as a whole, longer ones are ndjson
RESEARCH = ("http://terminology.hl7.org/CodeSystem/consentscope", "research")
PATIENT = "Patient/"
ENDED = frozenset({"inactive", "rejected"})
# Elements of DomainResource and of the data types that say who somebody is.
TELLING = frozenset({"name", "telecom", "address", "birthDate", "photo", "contact", "contained", "text", "div"})
# What a Consent may have here; everything else of R4 would change the meaning or is not ours to keep.
CONSENT = frozenset(
    {"resourceType", "id", "meta", "status", "scope", "category", "patient", "dateTime", "policy", "provision"}
)
PROVISION = frozenset({"type", "period"})


def fhir_lines(scope: str) -> RowFormat:
    """One Consent a line; the events are of ``scope``, and a refused row is named by its line."""

    def rows(lines: Iterator[bytes]) -> Iterator[Row]:
        for number, line in enumerate(lines, start=1):
            yield read_row(number, line, lambda row: _event(json_object(row, LONGEST_RESOURCE), scope))

    return RowFormat(f"fhir-ndjson {scope}", LONGEST_RESOURCE, rows)


def fhir_bundle(scope: str) -> RowFormat:
    """One Bundle of Consents; the events are of ``scope``, and a refused row is named by its number in the Bundle."""

    def rows(lines: Iterator[bytes]) -> Iterator[Row]:
        try:
            entries = _entries(lines)
        except BadDocumentError as error:
            yield 1, error.code
            return
        for number, entry in enumerate(entries, start=1):
            yield _row(number, entry, scope)

    return RowFormat(f"fhir {scope}", LONGEST_BUNDLE, rows)


def _entries(lines: Iterator[bytes]) -> list[Any]:
    whole, size = [], 0
    for line in lines:
        size += len(line) + 1
        if size > LONGEST_BUNDLE:
            raise BadDocumentError("CONSENT_ROW_TOO_LONG", "the Bundle is too long")
        whole.append(line)
    bundle = json_object(b"\n".join(whole), LONGEST_BUNDLE)
    entries = bundle.get("entry", [])
    if bundle.get("resourceType") != "Bundle" or not isinstance(entries, list):
        raise _strange()
    return entries


def _row(number: int, entry: object, scope: str) -> Row:
    try:
        if not isinstance(entry, dict) or not isinstance(entry.get("resource"), dict):
            raise _strange()
        return number, _event(entry["resource"], scope)
    except BadDocumentError as error:
        return number, error.code


def _event(resource: Mapping[str, Any], scope: str) -> ConsentEvent:
    # 1. nothing that says who somebody is
    if _tells(resource):
        raise BadDocumentError("CONSENT_FHIR_PERSONAL", "the resource says who a person is")
    # 2. a Consent with nothing in it that an event cannot carry
    if resource.get("resourceType") != "Consent" or not resource.keys() <= CONSENT:
        raise _strange()
    provision = _object(resource, "provision") if "provision" in resource else {}
    period = _object(provision, "period") if "period" in provision else {}
    if not provision.keys() <= PROVISION or not period.keys() <= {"start", "end"}:
        raise BadDocumentError("CONSENT_FHIR_EXCEPTIONS", "the consent has exceptions or limits that would be lost")
    # 3. about research, and about a pseudonym
    if RESEARCH not in _codings(_object(resource, "scope")):
        raise BadDocumentError("CONSENT_FHIR_SCOPE", "the consent is not about research")
    patient = _object(resource, "patient")
    reference = patient.get("reference")
    if patient.keys() != {"reference"} or not isinstance(reference, str) or not reference.startswith(PATIENT):
        raise BadDocumentError("CONSENT_BAD_SUBJECT", "the patient is not a reference to a pseudonymous id")
    # 4. what was said, when, and on what notice
    kind = _kind(resource.get("status"), provision.get("type"))
    at = time_of(resource.get("dateTime"))
    granted = kind is EventKind.GRANTED
    if granted and "start" in period:
        at = max(at, time_of(period["start"]))
    return ConsentEvent(
        subject=reference.removeprefix(PATIENT),
        scope=scope,
        kind=kind,
        at=at,
        expires=time_of(period["end"]) if granted and "end" in period else None,
        notice=_notice(resource.get("policy")),
    )


def _kind(status: object, provision: object) -> EventKind:
    if status == "active" and provision == "permit":
        return EventKind.GRANTED
    if status in ENDED or (status == "active" and provision == "deny"):
        return EventKind.WITHDRAWN
    raise BadDocumentError("CONSENT_BAD_EVENT", "status and provision are no decision that is in force")


def _notice(policies: object) -> str:
    first = policies[0] if isinstance(policies, list) and len(policies) == 1 else None
    if not isinstance(first, dict) or first.keys() != {"uri"} or not isinstance(first["uri"], str):
        raise BadDocumentError("CONSENT_BAD_NOTICE", "the consent names no policy, or several")
    return first["uri"]


def _codings(concept: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    codings = concept.get("coding")
    if not isinstance(codings, list) or not all(isinstance(coding, dict) for coding in codings):
        raise _strange()
    return [(coding.get("system"), coding.get("code")) for coding in codings]


def _tells(value: object) -> bool:
    if isinstance(value, list):
        return any(_tells(item) for item in value)
    if not isinstance(value, dict):
        return False
    # the words beside a reference are a person's name; those beside a code are the code's
    if not TELLING.isdisjoint(value) or ("reference" in value and not value.keys() <= {"reference", "type"}):
        return True
    return any(_tells(item) for item in value.values())


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        raise _strange()
    return found


def _strange() -> BadDocumentError:
    return BadDocumentError("CONSENT_ROW_FIELDS", "the row has missing or unknown fields")
