"""study.yaml as a frozen value: what is asked, of whom, with which method at which cost, and what counts as success.

Order of calls: ``Study.parse(data, name)`` -> ``planning.plan_of`` (what it costs) and ``gate/facts.py`` (what a policy
says to it). A study is only somebody's wish: nothing in it is a permission.

Not here: whether it is approved (governance/signing/approvals.py), whether a policy permits it, what a run of it costs.

Every field is written out in the file, since the file is what is signed; where one may be left out, its default is a
named constant below. All that is checked here needs the file alone; each rule refuses at its line and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ..governance.canonical import digest, digest_bytes
from ..governance.document import (
    Digest,
    Document,
    DocumentModel,
    Exact,
    Identifier,
    read_document,
    validate_model,
)
from ..governance.language import Text
from ..privacy.budget import Adjacency, Unit
from ..privacy.event import LARGEST_CONTRIBUTIONS
from .conditions import ReleaseTerms, ValidationSettings, check_release, check_validation, frozen
from .errors import BadInputError
from .methods import Method, check_method

SCHEMA = "sekisho-study/1"

DEFAULT_ON_DROP: Literal["continue"] = (
    "continue"  # a run that went on without a site is charged alike; `stop` is for site secrecy
)

DEFAULT_PERSONAL_HEADS = False  # a use of the records without noise: only where the signed file says so

LEAST_SITES = 3  # with two, each reads the other's update off the sum
LEAST_HONEST = 2  # honest sites left after the observers: below, "the sum" is one site's update
MOST_SITES = 127  # a roster has 128 parties; sums decrypt for certain up to 381 (privacy/encryption/presets.py)
MOST_SUBJECTS = 10**9
MOST_RUNS = 10_000

SiteId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
StudyId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Line = Annotated[str, Field(min_length=1, max_length=200)]
# A file of the study: beside it or below it, never above it.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,5}$")]
PackageName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$")]
Count = Annotated[int, Field(ge=1, le=MOST_SUBJECTS)]


class BaseModelReference(DocumentModel):
    """Which base model: its weights' digest decides; the package or the folder only says where to look."""

    name: Line
    package: PackageName | None = None
    folder: FileName | None = None
    digest: Digest
    licence: Line
    disclosure: Literal["none", "statement", "sources-listed", "eu-art53-summary", "full"]


class TestSetReference(DocumentModel):
    """The public records that every site evaluates on; ``file`` stands beside study.yaml."""

    file: FileName
    digest: Digest


class MeasureOfSuccess(DocumentModel):
    """A figure on the test set and the target that was fixed before any run."""

    name: Literal["auc", "accuracy"]
    method: Name
    target: Exact
    text: Text


class Value(DocumentModel):
    """What the owner expects one year of use to be worth; assumptions, and the report says so."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    reviews_per_year: Annotated[int, Field(ge=0, le=10**12)]
    minutes_saved_per_review: Exact
    cost_per_hour: Exact
    share_handled: Exact


class Cost(DocumentModel):
    """What the pilot and one year of running it cost, in the currency of ``value``."""

    pilot: Exact
    yearly: Exact


class StageCaps(DocumentModel):
    """What a run in this stage may not go beyond; the gate of every site holds each request against it.

    ``runs`` counts this study's runs in this stage at one site, one per method; ``subjects`` are those declared over
    all sites; ``epsilon_per_run`` is held against the site's own certificate.
    """

    sites: Annotated[int, Field(ge=LEAST_SITES, le=MOST_SITES)]
    subjects: Count
    runs: Annotated[int, Field(ge=1, le=MOST_RUNS)]
    epsilon_per_run: Exact

    def ordered(self) -> tuple[tuple[str, int | Decimal], ...]:
        """Every cap by name, in the order of the file."""
        return (
            ("sites", self.sites),
            ("subjects", self.subjects),
            ("runs", self.runs),
            ("epsilon_per_run", self.epsilon_per_run),
        )


class Stage(DocumentModel):
    """One stage of the study: its cost, what must hold before it begins (for people), and its caps (for the gate)."""

    name: Name
    cost: Exact
    gate: Text
    caps: StageCaps


class StudyFile(DocumentModel):
    """The fields of study.yaml, in the order of the file."""

    schema_: Literal["sekisho-study/1"] = Field(alias="schema")
    id: StudyId
    title: Text
    question: Text
    requester: Line
    action: Literal["train"]
    purpose: Identifier
    task: Literal["text-classification"]
    stage: Name
    labels: Annotated[tuple[Line, ...], Field(min_length=2, max_length=2)]  # the second is the positive class
    legal_basis_scope: Identifier
    sites: Annotated[tuple[SiteId, ...], Field(min_length=LEAST_SITES, max_length=MOST_SITES)]
    minimum_sites: Annotated[int, Field(ge=LEAST_SITES, le=MOST_SITES)]
    observers: Annotated[int, Field(ge=1, le=MOST_SITES)]
    max_sites_per_subject: Annotated[int, Field(ge=1, le=MOST_SITES)]
    on_drop: Literal["continue", "stop"] = DEFAULT_ON_DROP
    unit: Unit
    adjacency: Adjacency
    records_per_subject: Annotated[int, Field(ge=1, le=10_000)]
    subjects: Annotated[Mapping[SiteId, Count], AfterValidator(frozen)]
    audit_years: Annotated[int, Field(ge=0, le=100)]
    base_model: BaseModelReference
    test_set: TestSetReference
    methods: Annotated[Mapping[Literal["probe", "lora"], Method], AfterValidator(frozen), Field(min_length=1)]
    recipients: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=100)]
    downstream_uses: Annotated[tuple[Identifier, ...], Field(max_length=100)]
    release_licence: Line
    measures: Annotated[tuple[MeasureOfSuccess, ...], Field(min_length=1, max_length=50)]
    value: Value
    cost: Cost
    roi_threshold: Exact
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=20)]
    disclaimer: Text | None = None
    personal_heads: bool = DEFAULT_PERSONAL_HEADS
    validation: ValidationSettings | None = None
    release: ReleaseTerms | None = None


class Study(StudyFile):
    """A study that was read and checked.

    ``digest`` is that of the file's bytes, ``canonical_digest`` that of its RFC 8785 form: approvals name both, so they
    are computed from the file and cannot stand in it.
    """

    digest: Digest
    canonical_digest: Digest

    @classmethod
    def parse(cls, data: bytes, name: str) -> Study:
        """Read and check a study.

        Raises:
            BadDocumentError: with line and column: the codes of governance/document.py, and STUDY_SITES, STUDY_COHORT,
                STUDY_SUBJECTS, STUDY_SITES_PER_SUBJECT, STUDY_UNIT, STUDY_LABELS, STUDY_BASE_MODEL, STUDY_BUDGET,
                STUDY_TRAINING, STUDY_MEASURES, STUDY_MONEY, STUDY_STAGES, STUDY_VALIDATION, STUDY_RELEASE.
        """
        document = read_document(data, name=name)
        content = validate_model(document, StudyFile)
        _check_parties(document, content)
        _check_unit(document, content)
        _check_base_model(document, content.base_model)
        for method, settings in content.methods.items():
            check_method(document, method, settings)
        _check_success(document, content)
        if content.validation is not None:
            check_validation(document, content.validation)
        if content.release is not None:
            check_release(document, content.release, content.sites, validated=content.validation is not None)
        return cls.model_construct(**dict(content), digest=digest_bytes(data), canonical_digest=digest(document.value))

    @property
    def declared_subjects(self) -> int:
        """ΣNᵢ: the public number of subjects over all sites."""
        return sum(self.subjects[site] for site in self.sites)

    @property
    def current_stage(self) -> Stage:
        """The stage that the study stands in."""
        return next(stage for stage in self.stages if stage.name == self.stage)

    def settings(self, method: str) -> Method:
        """The settings of ``method``. Raises ``BadInputError`` METHOD_UNKNOWN."""
        for name, settings in self.methods.items():
            if name == method:
                return settings
        raise BadInputError(
            "METHOD_UNKNOWN", f"the study has no method '{method}'", f"its methods are {', '.join(self.methods)}"
        )


def _check_parties(document: Document, study: StudyFile) -> None:
    _no_repeats(document, "STUDY_SITES", ("sites",), study.sites)
    if study.minimum_sites > len(study.sites):
        document.refuse(
            "STUDY_COHORT",
            f"minimum_sites is {study.minimum_sites} and the study has {len(study.sites)} sites",
            "a run needs at most as many sites as there are",
            ("minimum_sites",),
        )
    if study.minimum_sites - study.observers < LEAST_HONEST:
        document.refuse(
            "STUDY_COHORT",
            f"with {study.minimum_sites} sites and {study.observers} observers fewer than two honest sites may be left",
            "raise minimum_sites, or lower observers (at least 1: every site knows its own share of the noise)",
            ("observers",),
        )
    for site in study.subjects:
        if site not in study.sites:
            document.refuse(
                "STUDY_SUBJECTS", f"{site} is not one of the study's sites", "name it in sites, or remove it",
                ("subjects", site), key=True,
            )  # fmt: skip
    for site in study.sites:
        if site not in study.subjects:
            document.refuse(
                "STUDY_SUBJECTS",
                f"the number of subjects of {site} is not declared",
                "declare a public, round number for every site; it is never measured",
                ("subjects",),
            )


def _check_unit(document: Document, study: StudyFile) -> None:
    most = min(len(study.sites), LARGEST_CONTRIBUTIONS)
    if study.max_sites_per_subject > most:
        document.refuse(
            "STUDY_SITES_PER_SUBJECT",
            f"max_sites_per_subject is {study.max_sites_per_subject}; with {len(study.sites)} sites at most {most} can "
            "be accounted for",
            "write at how many sites one person may be at most; 1 if the sites' subjects are distinct",
            ("max_sites_per_subject",),
        )
    if study.unit is Unit.RECORD and study.records_per_subject != 1:
        document.refuse(
            "STUDY_UNIT",
            "a guarantee for records says nothing to a person with several of them",
            "write unit: subject, or records_per_subject: 1",
            ("unit",),
        )
    _no_repeats(document, "STUDY_LABELS", ("labels",), study.labels)


def _check_base_model(document: Document, base_model: BaseModelReference) -> None:
    if (base_model.package is None) == (base_model.folder is None):
        document.refuse(
            "STUDY_BASE_MODEL",
            "the base model is looked for either in an installed package or in a folder of the study",
            "write one of package and folder",
            ("base_model",),
        )


def _check_success(document: Document, study: StudyFile) -> None:
    for index, measure in enumerate(study.measures):
        if measure.method not in study.methods:
            document.refuse(
                "STUDY_MEASURES",
                f"the study has no method {measure.method}",
                "measure a method that the study lists under methods",
                ("measures", index, "method"),
            )
        if measure.target > 1:
            document.refuse(
                "STUDY_MEASURES", "no share is above 1", 'write the target as a share, e.g. "0.80"',
                ("measures", index, "target"),
            )  # fmt: skip
    _no_repeats(
        document,
        "STUDY_MEASURES",
        ("measures",),
        [(measure.name, measure.method) for measure in study.measures],
    )
    if study.value.share_handled > 1:
        document.refuse(
            "STUDY_MONEY", "no share is above 1", 'write the share of reviews handled, e.g. "0.60"',
            ("value", "share_handled"),
        )  # fmt: skip
    names = [stage.name for stage in study.stages]
    _no_repeats(document, "STUDY_STAGES", ("stages",), names)
    if study.stage not in names:
        document.refuse(
            "STUDY_STAGES", f"the study's stages do not name {study.stage}",
            "stage is where the study stands now: one of the names under stages", ("stage",),
        )  # fmt: skip


def _no_repeats(document: Document, code: str, path: tuple[str, ...], entries: Iterable[Any]) -> None:
    seen: set[Any] = set()
    for index, entry in enumerate(entries):
        if entry in seen:
            document.refuse(code, f"an entry of {path[-1]} is given twice", "keep one of them", (*path, index))
        seen.add(entry)
