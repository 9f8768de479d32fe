"""Whether a ledger was put back or copied: what sites say in their joins about each other's ledger heads.

For: the heads of others that this site has seen, and the two judgements that follow from heads. A ledger cannot know by
itself that all of it was put back to an earlier day; whoever saw it further on knows.

* Of its own ledger a site hears claims. A head that T+1 other controllers claim (signed, in their joins) is witnessed:
  at most T sites collude, so one of them is honest and saw it. A ledger that never had a witnessed head must not run.
  What fewer claim is disputed: it is logged, and a liar alone stops nobody.
* Of another's ledger a site trusts its own eyes first. The other's join says where its ledger is, and the answers that
  it sends before keys are agreed say which MAC it had where others saw it: an honest site's chain leads through that.

Not here: charging (privacy/accounting/ledger.py); a site that answers falsely about its own ledger, which could as well
keep none; two clones whose cohorts have no honest member in common.

Order of calls, in one run: ``SeenHeads.seen`` into the join → ``SeenHeads.check_join`` of every other's join →
``judge_own`` and ``answers`` → ``judge_peer`` of every other → ``SeenHeads.remember``, there and after every step.

Source: DESIGN 6; review 7.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...governance.signing.roster import Roster
from ..errors import BadInputError, Refused
from ..messages import Join, LedgerHeadSeen
from ..parties import replace_file

NEVER_HAD = ""  # the answer of a ledger about a head at which it never was; no MAC is empty
HeadAt = Callable[[int], str | None]  # ``Ledger.head_at``


@dataclass(frozen=True)
class Claim:
    """``witness`` (a site, under ``controller``) signed that it saw somebody's ledger at ``head``."""

    witness: str
    controller: str
    head: LedgerHeadSeen


def claims_about(site: str, joins: Mapping[str, Join], roster: Roster) -> tuple[Claim, ...]:
    """What the others' joins claim of the ledger of ``site``, in order of the witnesses."""
    return tuple(
        Claim(witness, roster.party(witness).controller, join.seen[site])
        for witness, join in sorted(joins.items())
        if witness != site and site in join.seen
    )


def judge_own(
    site: str, claims: Sequence[Claim], *, controller: str, entries: int, head_at: HeadAt, observers: int
) -> tuple[Claim, ...]:
    """The claims that this site's ledger, now at ``entries``, does not bear out, where they are too few to be true.

    ``controller`` is this site's own, whose word about itself does not count; ``observers`` is T.

    Raises:
        Refused: LEDGER_BEHIND, LEDGER_FORKED, when T+1 other controllers claim heads that this ledger never had.
    """
    strange = tuple(claim for claim in claims if head_at(claim.head.entries) != claim.head.mac)
    witnesses = {claim.controller for claim in strange} - {controller}
    if len(witnesses) <= observers:
        return strange
    names = ", ".join(f"'{claim.witness}'" for claim in strange)
    furthest = max(claim.head.entries for claim in strange)
    if furthest > entries:
        raise Refused(
            "LEDGER_BEHIND",
            f"{site}: {names} saw this ledger at {furthest} entries; here it has {entries}",
            hint="a ledger restored from a backup forgets what was spent; find the newest copy",
            site=site,
        )
    raise Refused(
        "LEDGER_FORKED",
        f"{site}: {names} saw this ledger with another history than it has here",
        hint="a copy of this ledger is at work elsewhere, or was; one of them must end, and it is not the one they saw",
        site=site,
    )


def answers(claims: Iterable[Claim], head_at: HeadAt) -> dict[str, str]:
    """For each witness: the MAC (hex) that this ledger had at the entries of its claim, or ``NEVER_HAD``."""
    return {claim.witness: head_at(claim.head.entries) or NEVER_HAD for claim in claims}


def judge_peer(
    own: str,
    site: str,
    claims: Sequence[Claim],
    *,
    controller: str,
    joined: LedgerHeadSeen,
    answered: Mapping[str, str],
    observers: int,
) -> None:
    """Return if the ledger of ``site`` may be the one that was seen; ``own`` is the site that judges.

    ``joined`` is the head in its join, ``answered`` its answers (by witness), ``controller`` its own.

    Raises:
        Refused: PEER_LEDGER_FORKED, when ``own`` saw a head that it does not have, or T+1 other controllers did.
    """
    strange = [
        claim
        for claim in claims
        if claim.head.entries > joined.entries or answered.get(claim.witness) != claim.head.mac
    ]
    by_own_eyes = any(claim.witness == own for claim in strange)
    witnesses = {claim.controller for claim in strange} - {controller}
    if by_own_eyes or len(witnesses) > observers:
        raise _forked(own, site)


class SeenHeads:
    """The latest ledger heads of other sites that ``site`` has seen, in one small file of its state."""

    def __init__(self, path: Path, site: str) -> None:
        self._path = path
        self._site = site

    def seen(self) -> dict[str, LedgerHeadSeen]:
        """By site. Raises ``BadInputError`` HEADS_UNREADABLE."""
        if not self._path.exists():
            return {}
        try:
            content = json.loads(self._path.read_text("utf-8"))
            return {site: LedgerHeadSeen.model_validate(head) for site, head in content.items()}
        except (ValueError, AttributeError):
            raise BadInputError(
                "HEADS_UNREADABLE",
                f"{self._site}: the file of ledger heads seen is damaged",
                hint="restore state/heads.json from a backup; without it a rolled-back ledger may go unnoticed",
            ) from None

    def check_join(self, site: str, head: LedgerHeadSeen) -> None:
        """Refuse another's ledger that is behind where it was seen, or elsewhere at the same number of entries.

        Raises:
            Refused: PEER_LEDGER_ROLLED_BACK, PEER_LEDGER_FORKED.
        """
        self._check(self.seen().get(site), site, head)

    def remember(self, heads: Mapping[str, LedgerHeadSeen]) -> None:
        """Keep the latest heads of other sites, in one write. Raises as ``check_join`` does."""
        seen = self.seen()
        for site, head in heads.items():
            self._check(seen.get(site), site, head)
        seen |= {site: head for site, head in heads.items() if site != self._site}
        text = json.dumps({name: value.model_dump() for name, value in sorted(seen.items())})
        replace_file(self._path, text.encode("utf-8"))

    def _check(self, known: LedgerHeadSeen | None, site: str, head: LedgerHeadSeen) -> None:
        if known is None:
            return
        if head.entries < known.entries:
            raise Refused(
                "PEER_LEDGER_ROLLED_BACK",
                f"the ledger of '{site}' is behind a head that {self._site} has seen",
                hint="a restored or copied ledger must not run; its owner finds the newest one first",
                site=self._site,
            )
        if head.entries == known.entries and head.mac != known.mac:
            raise _forked(self._site, site)


def _forked(own: str, site: str) -> Refused:
    return Refused(
        "PEER_LEDGER_FORKED",
        f"the ledger of '{site}' has another history than the one that was seen",
        hint="two copies of one ledger are at work, or an older one went on; its owner finds the one that was seen",
        site=own,
    )
