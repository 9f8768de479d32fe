"""Rosters that follow one another, made and signed in few words; for tests of succession and attacks on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sekisho.governance.signing.envelope import Envelope, sign_statement
from sekisho.governance.signing.keys import SigningKey
from sekisho.governance.signing.roster import Roster, roster_statement
from sekisho.governance.signing.succession import SignedRoster, succession_statement

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
ISSUED = NOW - timedelta(days=1)
EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)
SITES = ("kohi", "wanko")
# pseudonym -> roles; the keys are named after the person where nothing else is said
PEOPLE: Mapping[str, Sequence[str]] = {"lea": ["legal"], "leo": ["legal"], "ida": ["it"], "ivo": ["it"]}
THRESHOLDS: Mapping[str, int] = {"legal": 2, "it": 1}


def key(name: str) -> SigningKey:
    return SigningKey.from_seed(name.encode().ljust(32, b"."))


def roster(
    version: int = 1,
    *,
    before: Roster | None = None,
    sites: Mapping[str, str] | Iterable[str] = SITES,
    people: Mapping[str, Sequence[str]] = PEOPLE,
    keys: Mapping[str, Sequence[str]] | None = None,
    roles: Mapping[str, int] = THRESHOLDS,
    expires: datetime = EXPIRES,
    demo: bool = False,
    supersedes: str | None = None,
) -> Roster:
    """A roster; ``sites`` may give a site another key's name, ``keys`` a person others than one of the same name."""
    return Roster.parse(
        text(version, before, sites, people, keys, roles, expires, demo, supersedes).encode(), f"rosters/{version}.yaml"
    )


def text(
    version: int,
    before: Roster | None,
    sites: Mapping[str, str] | Iterable[str],
    people: Mapping[str, Sequence[str]],
    keys: Mapping[str, Sequence[str]] | None,
    roles: Mapping[str, int],
    expires: datetime,
    demo: bool,
    supersedes: str | None,
) -> str:
    of_site = dict(sites) if isinstance(sites, Mapping) else {site: site for site in sites}
    of_person = {name: [name] for name in people} | dict(keys or {})
    named = supersedes or (before.fingerprint if before is not None else "")
    parties = "".join(
        f"  - {{id: {name}, name: {{en: {name}, ja: {name}}}, kind: {kind}, controller: {name}-kk, country: JP, "
        f'key: "{key(own).public.to_text()}"}}\n'
        for name, own, kind in [*((name, own, "site") for name, own in of_site.items()), ("hub", "hub", "coordinator")]
    )
    signers = "".join(
        f"  - {{pseudonym: {name}, roles: [{', '.join(held)}], "
        f"keys: [{', '.join(chr(34) + key(own).public.to_text() + chr(34) for own in of_person[name])}]}}\n"
        for name, held in people.items()
    )
    return (
        f"schema: sekisho-roster/1\nversion: {version}\n" + (f"supersedes: {named}\n" if named else "")
        + f'demo: {str(demo).lower()}\ncreated: "{CREATED.isoformat()}"\nexpires: "{expires.isoformat()}"\n'
        + f"parties:\n{parties}people:\n{signers}roles: {{{', '.join(f'{r}: {n}' for r, n in roles.items())}}}\n"
    )


def by_sites(one: Roster, *names: str) -> tuple[Envelope, ...]:
    """The acceptance of these sites, of all of the roster where none is named; keys named after their sites."""
    statement = roster_statement(one, file="roster.yaml")
    return tuple(sign_statement(statement, [key(name)]) for name in names or [site.id for site in one.sites])


def by_people(old: Roster, new: Roster, *who: tuple[str, str], issued: datetime = ISSUED) -> tuple[Envelope, ...]:
    """What the owners of these keys sign, each in a role: (name of the key, role)."""
    return tuple(
        sign_statement(succession_statement(old, new, role=role, issued=issued, file="roster.yaml"), [key(name)])
        for name, role in who
    )


def first(**words: object) -> SignedRoster:
    """Version 1, signed by every site."""
    one = roster(1, **words)  # type: ignore[arg-type]  passed on as it came
    return SignedRoster(one, by_sites(one))
