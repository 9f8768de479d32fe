"""The closed set of grants: what may be done, for what, how, and for whom.

For: one declaration per action. Not for: what holds whatever is done (always_clauses.py), the machinery
(clause.py), words (texts/clauses.toml).

A grant only widens: a request is permitted if one whole grant holds. The fields of a grant hold together, so
two uses with different purposes want two grants.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field as Bounds

from ..vocabulary import term_of
from .clause import Clause, ClauseType, Field
from .domain import ONE_OR_MORE, SOME
from .lattice import Interval, OneOf, Within

MAX_GRANTS = 6  # comparing two policies costs the product of their grants' fields
MAX_TERMS = 100
MAX_STEPS = 1_000_000

_Some = Bounds(min_length=1, max_length=MAX_TERMS)
_Any = Bounds(max_length=MAX_TERMS)  # an empty list permits nobody, or nothing


class Grant(Clause):
    """What every grant says, whatever the action."""

    purposes: Annotated[frozenset[Annotated[str, term_of("purposes")]], _Some]
    tasks: Annotated[frozenset[Annotated[str, term_of("tasks")]], _Some]
    methods: Annotated[frozenset[Annotated[str, term_of("methods")]], _Some]
    stages: Annotated[frozenset[Annotated[str, term_of("stages")]], _Some]
    recipients: Annotated[frozenset[Annotated[str, term_of("recipients")]], _Any]
    downstream_uses: Annotated[frozenset[Annotated[str, term_of("downstream_uses")]], _Any]


class TrainGrant(Grant):
    """Training an adapter, in at most ``max_steps`` steps a run."""

    action: Literal["train"]
    max_steps: Annotated[int, Bounds(ge=1, le=MAX_STEPS)]


class ReleaseGrant(Grant):
    """Handing the finished adapter to the recipients, for the downstream uses."""

    action: Literal["release"]


def _action(action: str) -> Field:
    return Field("action", "action", "study", "ACTION_NOT_GRANTED", lambda _: OneOf(frozenset({action})))


_COMMON = (
    Field("purposes", "purpose", "study", "PURPOSE_NOT_GRANTED", lambda grant: OneOf(grant.purposes)),
    Field("tasks", "task", "study", "TASK_NOT_GRANTED", lambda grant: OneOf(grant.tasks)),
    Field("methods", "method", "study", "METHOD_NOT_GRANTED", lambda grant: OneOf(grant.methods)),
    Field("stages", "stage", "study", "STAGE_NOT_GRANTED", lambda grant: OneOf(grant.stages)),
    Field("recipients", "recipients", "study", "RECIPIENT_NOT_GRANTED",
          lambda grant: Within(grant.recipients), SOME),
    Field("downstream_uses", "downstream_uses", "study", "DOWNSTREAM_USE_NOT_GRANTED",
          lambda grant: Within(grant.downstream_uses)),
)

_STEPS = Field("max_steps", "steps", "study", "TOO_MANY_STEPS",
               lambda grant: Interval(high=grant.max_steps, whole=True), ONE_OR_MORE)

# A grant's lists are named after their vocabularies.
_LABELS = {"action": "actions", **{field.name: field.name for field in _COMMON}}

TRAIN = ClauseType("train", TrainGrant, (_action("train"), *_COMMON, _STEPS), labels=_LABELS)
RELEASE = ClauseType("release", ReleaseGrant, (_action("release"), *_COMMON), labels=_LABELS)

GRANTS: Mapping[str, ClauseType] = MappingProxyType({TRAIN.name: TRAIN, RELEASE.name: RELEASE})
