"""Does the new version permit anything that the old one did not? Exact, with a realistic request as proof.

Not for: words and pages (the callers), combining the policies of several sites (combine.py). Works from the
declarations and knows no clause type by name.

    compare(old, new) -> Comparison: .verdict; .allowed and .forbidden, each a Witness; .clauses; .header

The verdict speaks of all requests whose facts come from their declared sources and have values of their domains
(domain.py), or are missing. Facts are independent of one another, so it is enough to look at one fact at a time
(region.py): the new policy is within the old one unless a grant of the new one, with everything under ``always``,
leaves room for a request that fails one constraint under ``always`` of the old, or one of each of its grants.

A fact that its source works out from the policy's own numbers (``Field.measured``) is compared by these numbers. Under
the two policies it may differ for one and the same situation: hence ``Witness.request`` and ``Witness.other_request``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from ..canonical import digest
from .clause import Held, leaves
from .decide import ClauseResult, decide
from .escape import escape, escape_clause, quantities, request_under
from .lattice import write
from .policy import Policy, Provision
from .region import find, within
from .request import Request


class Verdict(StrEnum):
    """What the new side is to the old: permits the same, less, more, or both less and more."""

    SAME = "same"
    NARROWER = "narrower"
    WIDER = "wider"
    INCOMPARABLE = "incomparable"


@dataclass(frozen=True)
class FieldChange:
    """One field that differs: as a constraint or, where nobody enforces it, as written; None where a side lacks it.

    ``verdict`` is None for what is recorded, and shown to people, without being enforced.
    """

    field: str
    old: str | None
    new: str | None
    verdict: Verdict | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class ClauseChange:
    """One clause type under ``always``, or one grant: the new against the old, taken by themselves.

    A grant without counterpart is compared with all grants of the other policy: one that repeats what they give is
    "same".
    """

    type: str
    old_id: str | None
    new_id: str | None
    verdict: Verdict
    fields: tuple[FieldChange, ...]
    prose_changed: bool

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {**vars(self), "fields": [one.to_json() for one in self.fields]}


@dataclass(frozen=True)
class Witness:
    """A whole request that one policy permits and the other denies, and what the other says against it.

    ``other_request`` is what the same situation looks like under the policy that denies: it differs from ``request``
    only in facts that are worked out from a policy's own numbers.
    """

    request: Request
    other_request: Request
    denied_by: tuple[ClauseResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Both requests and the failed results."""
        return {
            "request": self.request.to_json(),
            "other_request": self.other_request.to_json(),
            "denied_by": [one.to_json() for one in self.denied_by],
        }


@dataclass(frozen=True)
class Comparison:
    """The new policy against the old, named by their canonical digests; "same" permits the same, prose aside."""

    old: str
    new: str
    verdict: Verdict
    allowed: Witness | None
    forbidden: Witness | None
    clauses: tuple[ClauseChange, ...]
    header: tuple[FieldChange, ...]

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain values, without its own digest."""
        return {
            "old": self.old,
            "new": self.new,
            "verdict": str(self.verdict),
            "allowed": None if self.allowed is None else self.allowed.to_json(),
            "forbidden": None if self.forbidden is None else self.forbidden.to_json(),
            "clauses": [one.to_json() for one in self.clauses],
            "header": [one.to_json() for one in self.header],
        }

    @cached_property
    def digest(self) -> str:
        """Digest of the JSON form; it is signed with the policy."""
        return digest(self.to_json())


def compare(old: Policy, new: Policy) -> Comparison:
    """``new`` against ``old``. Pure; the same two policies give the same comparison, byte for byte."""
    allowed, forbidden = _witness(new, old), _witness(old, new)
    return Comparison(
        old=old.canonical_digest,
        new=new.canonical_digest,
        verdict=_verdict(wider=allowed is not None, narrower=forbidden is not None),
        allowed=allowed,
        forbidden=forbidden,
        clauses=(*_always_changes(old, new), *_grant_changes(old, new)),
        header=_leaf_changes(_bare(old), _bare(new), skip=()),
    )


def _bare(policy: Policy) -> BaseModel:
    return policy.header.model_copy(update={"always": (), "grants": ()})


def _verdict(*, wider: bool, narrower: bool) -> Verdict:
    if wider and narrower:
        return Verdict.INCOMPARABLE
    if wider:
        return Verdict.WIDER
    return Verdict.NARROWER if narrower else Verdict.SAME


def _witness(permits: Policy, denies: Policy) -> Witness | None:
    found = escape(permits, denies)
    if found is None:
        return None
    request, other = request_under(permits, found), request_under(denies, found)
    decision = decide(denies, other)
    if decision.permitted or not decide(permits, request).permitted:
        raise RuntimeError("a witness does not show what it should: the comparison is wrong")  # a fault of ours
    return Witness(request, other, decision.failed)


# -- clause by clause ------------------------------------------------------------------------------------------------


def _always_changes(old: Policy, new: Policy) -> Iterator[ClauseChange]:
    before = {provision.type: provision for provision in old.always}
    for provision in new.always:
        was = before.pop(provision.type, None)
        yield _alone(provision, Verdict.NARROWER, added=True) if was is None else _change(was, provision)
    for provision in before.values():
        yield _alone(provision, Verdict.WIDER, added=False)


def _grant_changes(old: Policy, new: Policy) -> Iterator[ClauseChange]:
    pairs = _matched(old.grants, new.grants)
    for provision in new.grants:
        if provision.id in pairs:
            yield _change(pairs[provision.id], provision)
        else:
            more = escape_clause(provision, old.grants) is not None
            yield _alone(provision, _verdict(wider=more, narrower=False), added=True)
    kept = {provision.id for provision in pairs.values()}
    for provision in old.grants:
        if provision.id not in kept:
            less = escape_clause(provision, new.grants) is not None
            yield _alone(provision, _verdict(wider=False, narrower=less), added=False)


def _matched(old: tuple[Provision, ...], new: tuple[Provision, ...]) -> Mapping[str, Provision]:
    """New grant's id -> its old counterpart: by id and action, then by action and what they have in common."""
    left = {provision.id: provision for provision in old}
    pairs = {one.id: left.pop(one.id) for one in new if one.id in left and left[one.id].type == one.type}
    for provision in new:
        alike = {name: _overlap(one, provision) for name, one in left.items() if one.type == provision.type}
        if provision.id not in pairs and alike:
            pairs[provision.id] = left.pop(max(alike, key=lambda name: alike[name]))
    return pairs


def _overlap(old: Provision, new: Provision) -> int:
    before = {held.field: held for held in old.held}
    both = [(before[held.field], held) for held in new.held if held.field in before]
    return sum(find(one.allowed.meet(other.allowed), (), other.domain) is not None for one, other in both)


def _alone(provision: Provision, verdict: Verdict, *, added: bool) -> ClauseChange:
    texts = ((held.field, held.allowed.text()) for held in quantities(provision.held))
    return ClauseChange(
        type=provision.type,
        old_id=None if added else provision.id,
        new_id=provision.id if added else None,
        verdict=verdict,
        fields=tuple(
            FieldChange(field, None if added else text, text if added else None, verdict) for field, text in texts
        ),
        prose_changed=True,
    )


def _change(old: Provision, new: Provision) -> ClauseChange:
    changes = _held_changes(old.held, new.held)
    if not changes and old.clause == new.clause:
        return ClauseChange(new.type, old.id, new.id, Verdict.SAME, (), prose_changed=False)
    leaves = _leaf_changes(old.clause, new.clause, skip=("id", "text", "type"))
    recorded = (leaf for leaf in leaves if not any(_tells(change, leaf) for change in changes))
    return ClauseChange(
        type=new.type,
        old_id=old.id,
        new_id=new.id,
        verdict=_verdict(
            wider=escape_clause(new, (old,)) is not None, narrower=escape_clause(old, (new,)) is not None
        ),
        fields=(*changes, *recorded),
        prose_changed=old.clause.text != new.clause.text,
    )


def _tells(change: FieldChange, leaf: FieldChange) -> bool:
    """Whether who reads the change of a constraint has read of this change in the text as well."""
    if leaf.field == change.field:
        return True
    values = ((leaf.old, change.old), (leaf.new, change.new))
    return leaf.field.startswith(change.field + ".") and all(was is None or was in (told or "") for was, told in values)


def _held_changes(old: tuple[Held, ...], new: tuple[Held, ...]) -> tuple[FieldChange, ...]:
    before = {held.field: held for held in quantities(old)}
    after = {held.field: held for held in quantities(new)}
    changes = []
    for field in dict.fromkeys((*after, *before)):
        was, now = before.get(field), after.get(field)
        old_text, new_text = (None if one is None else one.allowed.text() for one in (was, now))
        if was is None or now is None:
            verdict = _verdict(wider=now is None, narrower=was is None)
        elif was.allowed == now.allowed and old_text == new_text:
            continue
        else:
            verdict = _verdict(
                wider=not within(now.allowed, was.allowed, now.domain),
                narrower=not within(was.allowed, now.allowed, now.domain),
            )
        changes.append(FieldChange(field, old_text, new_text, verdict))
    return tuple(changes)


# -- what nobody enforces --------------------------------------------------------------------------------------------


def _leaf_changes(old: BaseModel, new: BaseModel, *, skip: tuple[str, ...]) -> tuple[FieldChange, ...]:
    before = {path: _written(value) for path, value in leaves(old)}
    after = {path: _written(value) for path, value in leaves(new)}
    return tuple(
        FieldChange(path, before.get(path), after.get(path), None)
        for path in dict.fromkeys((*after, *before))
        if before.get(path) != after.get(path) and path.partition(".")[0] not in skip
    )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else write(value)  # text whole: a change may be at its end
