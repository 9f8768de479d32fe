"""A person's withdrawal, objection or erasure at one site: what is done at once, and what is left to do.

For: ``withdraw`` (effective at the next step, also of a run that is at work in another process), ``erase`` (nothing of
the person is left but what the ledger keeps under a fingerprint), and what both find. Not for: repeating a run or
revoking an adapter (pilot/remedies.py), who may be used (governance/consent), or unlearning: nothing here changes an
adapter that exists.

Order of calls: ``Desk.open`` → ``withdraw`` or ``erase`` → ``close``. A withdrawal takes no lock, so a run that is at
work does not delay it. An erasure takes it: nobody else may hold the old rows open.
"""

from __future__ import annotations

import gzip
import re
import secrets
import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from functools import cached_property
from pathlib import Path

from ...governance.consent.consent import ConsentRegister
from ...governance.consent.withdrawal import Case, Effect, Reason
from ...governance.errors import GovernanceError
from ...governance.errors import Refused as GovernanceRefused
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry
from ...governance.policy.policy import Policy
from ...governance.provenance.provenance import commitment
from ...governance.signing.envelope import write_time
from ...privacy.accounting.accountant import filter_cap, filter_epsilon
from ...privacy.accounting.ledger import Ledger
from ...privacy.accounting.reading import Balance, read_balance
from ...privacy.accounting.subjects import SubjectKey
from ..errors import BadInputError, CoreError, Refused
from ..parties import LOG_NAME, StateLock, load_key, log_origin, make_private_folder, replace_file, state_folder
from ..study import Study
from .budget import policy_budget
from .consents import IMPORTED_FILE, REGISTER, import_consents
from .departures import stop_use
from .papers import read_file, read_policy, read_roster, read_study
from .reach import Reach, RunReach
from .withdrawal_statement import Found, ReachedRun, paper_text

CASES = "withdrawals"  # papers for people's files, one a case; they name nobody
HEADS = "personal"
UNKNOWN = "CONSENT_SUBJECT_UNKNOWN"
PAPERS = ("policy.yaml", "policy.yaml.dsse.json")  # signed, about nobody's records; a word in them is no trace
# A subject's pseudonym as a whole word: "c01" is no trace of "c012".
_IN_A_NAME = rb"[A-Za-z0-9._:/-]"


@dataclass
class Desk:
    """One site's papers and stores as a request of a person needs them. No key and no lock is taken to open it."""

    study_folder: Path
    site: str
    study: Study
    register: ConsentRegister
    reach: Reach
    unread: CoreError | None

    @classmethod
    def open(cls, study_folder: Path, site: str) -> Desk:
        """Open the register and the record of what was reached, brought up to the site's consent file.

        A consent file that cannot be used keeps nobody from withdrawing: the fault is kept in ``unread``.
        """
        study = read_study(study_folder)
        state = state_folder(study_folder, site)
        make_private_folder(state)
        mark = SubjectKey.load_or_create(state / "subject.key").fingerprint
        register = ConsentRegister.open(state / REGISTER)
        unread: CoreError | None = None
        try:
            import_consents(register, study_folder / "sites" / site / IMPORTED_FILE)
        except CoreError as error:
            unread = error
        return cls(study_folder, site, study, register, Reach.open(state, mark), unread)

    def close(self) -> None:
        """Close the stores."""
        self.register.close()
        self.reach.close()

    @property
    def state(self) -> Path:
        """The site's state folder."""
        return state_folder(self.study_folder, self.site)

    @cached_property
    def policy(self) -> Policy:
        """The site's policy; read after the withdrawal counts, so that no fault in it delays one."""
        return read_policy(self.study_folder, self.site)

    @property
    def effect(self) -> Effect:
        """What the policy says of an adapter after a withdrawal."""
        return Effect(self.policy.clause("retention").on_withdrawal.released_adapter)


@dataclass(frozen=True)
class Erased:
    """What an erasure took away; all zero where nothing was held."""

    consent: int
    reach: int
    papers: int
    heads: int

    @property
    def anything(self) -> bool:
        """Whether there was something to erase."""
        return bool(self.consent or self.reach or self.papers or self.heads)


def withdraw(desk: Desk, subject: str, *, at: datetime, reason: Reason = Reason.WITHDRAWAL) -> Found:
    """Take a withdrawal or an objection: from the next step on the subject is used no more.

    Raises:
        Refused: CONSENT_SUBJECT_UNKNOWN and other codes of the register; nothing was done then.
    """
    # 1. first what stops the use; whatever fails after this, the person is out
    try:
        until = stop_use(desk.register, subject, at, reason, scope=desk.study.legal_basis_scope)
    except GovernanceRefused as refused:
        if refused.code == UNKNOWN and desk.unread is not None:
            raise desk.unread from None  # the person may stand in the file that could not be read
        raise
    # 2. what the site made for itself and may hold the person
    heads = forget_heads(desk, subject)
    # 3. where their data have been
    runs = desk.reach.of(subject)
    owed = _owe(desk, runs, at)
    # 4. a paper for the person's file, which names nobody; its key makes the log's words checkable, and can be erased
    case = Case.new(at, reason)
    found = _found(desk, case, runs, heads)
    make_private_folder(desk.state / CASES)
    replace_file(found.paper, paper_text(found).encode("utf-8"))
    desk.reach.open_case(found.paper.name, subject, case, until=until)
    # 5. the log: no pseudonym, and each adapter once, so that the number of people cannot be read from it
    entries = [
        Entry(
            "consent.withdrawn", desk.site, at, {"commitment": case.commitment_of(subject)}, {"reason": str(reason)}
        ),
        *owed,
    ]
    desk.reach.leave_entries(entries)
    # 6. a case that is not noted is taken again at the next opening, which changes nothing
    with suppress(GovernanceError):
        desk.register.note(case.name)
    return found if write_entries(desk) else found.waiting()


def erase(desk: Desk, subject: str, *, at: datetime) -> Erased:
    """Forget the subject. What they reached is noted first, without them, so that remedies are still carried out.

    Raises:
        Refused: STATE_BUSY; ERASURE_FILES_HOLD while the site's own files name the subject: the withdrawal counts
            already, and what proves it stays until no import can bring the subject back.
    """
    # 1. out of the next step, whatever follows; who is known to no register has nothing to withdraw
    try:
        withdraw(desk, subject, at=at, reason=Reason.ERASURE)
    except GovernanceRefused as refused:
        if refused.code != UNKNOWN:
            raise
        desk.reach.leave_entries(_owe(desk, desk.reach.of(subject), at))
    # 2. what would bring them back, or still holds them, is the site's own to edit
    holding = files_that_hold(desk, subject)
    if holding:
        raise Refused(
            "ERASURE_FILES_HOLD",
            f"{desk.site}: the withdrawal counts from the next step on, but the erasure is not finished: "
            f"{', '.join(holding)} of this site still hold the subject",
            hint="take the subject's rows out of these files, which are the site's own, and erase again",
            site=desk.site,
        )
    # 3. nobody else holds the rows open
    lock = StateLock(desk.state, desk.site)
    try:
        heads = forget_heads(desk, subject)
        papers = desk.reach.cases(subject)
        for name in papers:
            (desk.state / CASES / name).unlink(missing_ok=True)
        erased = Erased(
            consent=desk.register.erase(subject),
            reach=desk.reach.erase(subject) - len(papers),
            papers=len(papers),
            heads=heads,
        )
        # 4. that somebody was erased, under a key that nobody keeps
        if erased.anything:
            entry = commitment(secrets.token_bytes(32), subject)
            desk.reach.leave_entries([Entry("consent.erased", desk.site, at, {"commitment": entry})])
    finally:
        lock.release()
    write_entries(desk)
    return erased


def _owe(desk: Desk, runs: tuple[RunReach, ...], at: datetime) -> list[Entry]:
    """Note that remedies are due; what the log is told, each adapter once."""
    owed = [run for run in runs if desk.reach.owe(run.run, write_time(at))]
    return [_due(desk, run, at) for run in owed]


def forget_heads(desk: Desk, subject: str) -> int:
    """Delete the personal heads that may hold the subject: of every run they were in, and of every run unknown here."""
    reached = {run.run for run in desk.reach.of(subject)}
    deleted = 0
    for head in sorted((desk.state / HEADS).glob("*.safetensors")):
        if head.stem in reached or desk.reach.run(head.stem) is None:
            head.unlink(missing_ok=True)
            deleted += 1
    return deleted


def files_that_hold(desk: Desk, subject: str) -> tuple[str, ...]:
    """The site's own files that name the subject: neither the state folder, which is Sekisho's, nor the policy."""
    name = re.compile(rb"(?<!%b)%b(?!%b)" % (_IN_A_NAME, re.escape(subject.encode("utf-8")), _IN_A_NAME))
    own = desk.study_folder / "sites" / desk.site
    files = (
        path
        for path in sorted(own.rglob("*"))
        if path.is_file() and desk.state not in path.parents and path.name not in PAPERS
    )
    return tuple(path.relative_to(own).as_posix() for path in files if name.search(_content(path)))


def write_entries(desk: Desk) -> bool:
    """Write what waits into the site's log; False where it waits on: a run is at work, or the log or key is not there.

    Whoever opens the log next, or the run at its next step, writes it then.
    """
    log_path = desk.state / LOG_NAME
    if not log_path.exists():
        return False
    try:
        lock = StateLock(desk.state, desk.site)
    except Refused:
        return False
    try:
        roster = read_roster(desk.study_folder, now=datetime.now().astimezone())
        key = load_key(desk.study_folder, desk.site, demo=roster.demo, ask=False)
        with AuditLog.open(log_path, origin=log_origin(desk.study.id, desk.site), key=key) as log:
            desk.reach.take_entries(log.append)
    except (CoreError, GovernanceError):
        return False
    finally:
        lock.release()
    return True


def _found(desk: Desk, case: Case, runs: tuple[RunReach, ...], heads: int) -> Found:
    balance = _balance(desk)
    rows = {row.run: row for row in balance.runs} if balance else {}
    # who was only counted paid for the counts; which of the two a person did is not kept here
    cost = balance.spent_in([run.run for run in runs]) if balance else 0
    budget = policy_budget(desk.policy)
    exact = Decimal(repr(filter_epsilon(cost, balance.order, budget.delta) if balance else 0.0))
    reached = []
    for run in runs:
        started = rows[run.run].started if run.run in rows else 0
        last = started if run.gone_at is None else min(started, run.gone_at - 1)
        reached.append(ReachedRun(run, last))
    return Found(
        site=desk.site,
        study=desk.study.id,
        case=case.name,
        at=case.at,
        reason=case.reason,
        runs=tuple(reached),
        heads=heads,
        effect=desk.effect,
        policy=desk.policy.id,
        policy_version=desk.policy.version,
        epsilon=exact.quantize(Decimal("0.0001"), rounding=ROUND_CEILING),
        delta=budget.delta,
        paper=desk.state / CASES / f"{case.name}.txt",
    )


def _balance(desk: Desk) -> Balance | None:
    path = desk.state / "ledger.sqlite"
    order = Ledger.stored_order(path)
    return None if order is None else read_balance(path, cap=filter_cap(policy_budget(desk.policy), order))


def _due(desk: Desk, run: RunReach, at: datetime) -> Entry:
    adapter = {"adapter": run.adapter} if run.adapter else {}
    return Entry("remedy.due", desk.site, at, {"run": run.run, **adapter}, {"effect": str(desk.effect)})


def _content(path: Path) -> bytes:
    data = read_file(path)
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise BadInputError(
            "ERASURE_FILE_UNREADABLE",
            f"{path.name} is no gzip file though so named, so nobody can tell whom it holds",
            hint="repair or remove the file, and erase again",
        ) from None
