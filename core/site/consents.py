"""The site's consent register as the site uses it: brought up to the site's file, and told to the log.

For: ``SiteFolder.open`` and ``sekisho site consent``. Not for: who may be used in a step (data/eligible.py).

What the log is told is the same whether or not anything changed: one commitment whenever the site opens, one in every
step, each under a key of its own. So nobody who reads the log learns that somebody withdrew, or how many did.
"""

from __future__ import annotations

from pathlib import Path

from ...governance.consent.consent import ConsentRegister
from ...governance.consent.consent_import import ImportReport, Progress, silent
from ...governance.consent.fhir import fhir_bundle, fhir_lines
from ...governance.consent.rows import CSV, JSONL, RowFormat
from ...governance.provenance.provenance import commitment
from ...privacy.accounting.subjects import SubjectKey
from ..errors import BadInputError

FORMATS = ("jsonl", "csv", "fhir", "fhir-ndjson")
REGISTER = "consent.sqlite"     # in a site's state folder
IMPORTED_FILE = "consent.jsonl"  # in a site's own folder; read whenever the site opens


def row_format(name: str, *, scope: str) -> RowFormat:
    """One of ``FORMATS``. Raises ``BadInputError``. ``scope`` is what a FHIR consent is taken to be about."""
    forms = {"jsonl": JSONL, "csv": CSV, "fhir": fhir_bundle(scope), "fhir-ndjson": fhir_lines(scope)}
    if name not in forms:
        raise BadInputError(
            "CONSENT_FORMAT_UNKNOWN", f"there is no format '{name}' for consents", hint=f"one of {', '.join(FORMATS)}"
        )
    return forms[name]


def import_consents(
    register: ConsentRegister, path: Path, form: RowFormat = JSONL, *, progress: Progress = silent
) -> ImportReport:
    """Bring the register up to the site's file, whole or not at all. Raises ``BadInputError``, naming a row."""
    report = register.import_file(path, form, progress=progress)
    if report.refused:
        raise refusal_of(report)
    return report


def refusal_of(report: ImportReport) -> BadInputError:
    """What to say of a report with refused rows; names the first."""
    first = report.refused[0]
    return BadInputError(
        first.code,
        f"{first.file}:{first.line}: a consent record cannot be used "
        f"({len(report.refused)} such rows in all); none was imported",
        hint="correct the rows named; their content is not printed",
    )


def snapshot(register: ConsentRegister, key: SubjectKey, use: str) -> str:
    """What a log may hold of the register now. ``use`` is new each time, so that equal registers look different."""
    return commitment(key.fingerprint(f"consent/{use}"), register.snapshot_digest())
