"""How one clause type is declared; decide and explain work from the declaration and know no type by name.

For: one ``ClauseType`` per type, in always_clauses.py and grant_clauses.py. Not for: deciding (decide.py),
reading a file (policy.py), words (texts/clauses.toml, under the type's name and its codes).

    ClauseType("cohort", Cohort, fields=(Field("min_sites", fact="cohort.sites", source="roster", ...),))
        .held(model) -> Held(field, fact, source, code, allowed), one per fact

Adding a type: one declaration and one block of texts. Every field of the model is either held against a fact
or recorded: a recorded field is shown to people and enforced by nobody, and the explanation says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ..fields import DocumentModel, Identifier
from ..language import Text
from .domain import ANY, Domain
from .lattice import Constraint


class Clause(DocumentModel):
    """What every clause and every grant has: an id to cite it by, and prose, which is never enforced."""

    id: Identifier
    text: Text


@dataclass(frozen=True)
class Field:
    """One field of a clause type and the fact that it is held against.

    ``allowed`` reads the constraint from the clause. For a family of facts, such as the approvals of each
    role, it gives one constraint per member, and ``fact`` ends in ``.*``. ``domain`` is what the fact can be at all.

    ``measured`` is for a yes or no that its source works out from the clause's own numbers, such as whether a budget
    still suffices: the quantities behind it, each with the range in which the answer is yes, all of them together. Two
    policies are compared by these; a decision sees the answer.
    """

    name: str
    fact: str
    source: str
    code: str
    allowed: Callable[[Any], Constraint | Mapping[str, Constraint]]
    domain: Domain = ANY
    measured: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Held:
    """One constraint of one clause in a policy, and the fact that it is held against."""

    field: str
    fact: str
    source: str
    code: str
    allowed: Constraint
    vocabulary: str | None
    member: str  # which one of a family of facts; else empty
    domain: Domain = ANY
    measured: tuple[Held, ...] = ()


@dataclass(frozen=True)
class ClauseType:
    """The declaration of one clause type; ``labels`` names the vocabulary of each field that has terms."""

    name: str
    model: type[Clause]
    fields: tuple[Field, ...]
    recorded: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def held(self, clause: Clause) -> tuple[Held, ...]:
        """Every constraint of ``clause``, in the order of the declaration."""
        return tuple(held for one in self.fields for held in self._held(one, clause))

    def _held(self, one: Field, clause: Clause) -> tuple[Held, ...]:
        allowed = one.allowed(clause)
        family = {"": allowed} if isinstance(allowed, Constraint) else allowed
        measured = tuple(held for quantity in one.measured for held in self._held(quantity, clause))
        found: list[Held] = []
        for member in sorted(family):
            fact = one.fact.removesuffix("*") + member
            name = f"{one.name}.{member}" if member else one.name
            label = self.labels.get(one.name)
            found.append(
                Held(name, fact, one.source, one.code, family[member], label, member, one.domain, measured)
            )
        return tuple(found)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes under which this type can refuse, beside those of facts."""
        return tuple(dict.fromkeys(one.code for one in self.fields))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value below a model by its path in the file, places in a list counted from 1; what is absent is not
    among them, and a set of terms is one value."""
    items: Mapping[str, Any]
    if isinstance(value, BaseModel):
        items = {one.alias or name: getattr(value, name) for name, one in type(value).model_fields.items()}
    elif isinstance(value, Mapping):
        items = value
    elif isinstance(value, tuple):
        items = {str(place): item for place, item in enumerate(value, start=1)}
    else:
        if value is not None:
            yield path, value
        return
    for key, item in items.items():
        yield from leaves(item, f"{path}.{key}" if path else key)
