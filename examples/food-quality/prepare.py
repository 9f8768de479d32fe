"""Generate what the source of the reviews does not have, from a published seed, and sign the demo's papers.

    python examples/food-quality/prepare.py [REVIEWS]

REVIEWS is a folder with train.jsonl.gz and test.jsonl.gz (see DATA-LICENCE.md); without it ../shared/data/food-reviews
beside this repository is read, and where that does not exist, the reviews committed here. Running it twice changes
nothing: every choice is a hash of the seed and of what is chosen for, there is no clock and no random generator.

GENERATED, none of it describes a real person: which customer wrote which review, all consents and objections, the
makers, the people of the roster, every key and every signature. REAL: texts, products and labels of the reviews.
WRITTEN BY HAND and only signed here: study.yaml, study-full.yaml, base-model.yaml, sites/<site>/policy.yaml. After a
change of one of them run this again: without new signatures the pilot refuses it.

The keys are computed from published names, so anybody can sign with them: they protect nothing, and only a roster
marked `demo: true` accepts them. For a study of your own make keys of your own.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sekisho.core.site.papers import read_before
from sekisho.core.study import Study
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import shown
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.signing.approvals import Shown, approval_statement
from sekisho.governance.signing.envelope import PREDICATES, Subject, sign_statement, write_envelopes
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.governance.signing.roster import Roster, roster_statement

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared" / "data" / "food-reviews"
SITES = ("kohi", "wanko", "okashi", "shokuhin", "daidokoro")

SEED = "sekisho food-quality 2026"       # published on purpose; another seed is another example
SCOPE = "fl-training/2026-11"
NOTICE = "generated/notice-2026-10"      # the id says in every row what the row is
ASKED_FROM = datetime(2026, 10, 1, tzinfo=UTC)
ASKED_DAYS = 20
CHANGED_DAYS = 10                        # withdrawals and objections arrive within so many days of the question
SHORT_DAYS = 10                          # the consents that have expired were given for so many days
VALID_UNTIL = datetime(2099, 12, 31, tzinfo=UTC)

# Reviews per customer: most people write one or two; one customer in a hundred, the fiftieth, writes very many.
REVIEWS_SHARE = ((1, 0.40), (2, 0.24), (3, 0.14), (4, 0.10), (5, 0.07), (6, 0.05))
MANY_EVERY, MANY_FIRST = 100, 50
MANY_FROM, MANY_TO = 10, 30
CONSENT_SHARE = (("never-asked", 0.02), ("expired", 0.02), ("withdrawn", 0.03), ("granted", 0.93))
OBJECTED_SHARE = 0.01

ROSTER_CREATED = datetime(2026, 11, 1, tzinfo=UTC)
APPROVED_AT = datetime(2026, 11, 15, tzinfo=UTC)
PARTIES = (
    ("kohi", "Kohi Coffee Works (fictitious)", "珈琲工房コヒ（架空）"),
    ("wanko", "Wanko Pet Foods (fictitious)", "ワンコの食卓（架空）"),
    ("okashi", "Okashi Confectionery (fictitious)", "お菓子の小径（架空）"),
    ("shokuhin", "Shokuhin Foods (fictitious)", "まるしょく食品（架空）"),
    ("daidokoro", "Daidokoro Pantry (fictitious)", "台所ごよみ（架空）"),
    ("coordinator", "Federation Office (fictitious)", "連合学習事務局（架空）"),
)
# Pseudonyms. The first three make the study: who asks for it, and who approves it. The others sign their own
# company's policy, or may stop everything.
PEOPLE = (
    ("sakura", "business"),
    ("hinoki", "legal"),
    ("kaede", "it"),
    *((f"{site}-{role}", role) for site in SITES for role in ("legal", "it")),
    ("wanko-business", "business"),
    ("shokuhin-compliance", "compliance"),
    ("daidokoro-data-protection", "data-protection"),
)
ROLES = ("legal", "it", "business", "compliance", "data-protection")


def main(arguments: Sequence[str]) -> None:
    """Write every generated file of the example below this folder, then sign."""
    train, test = read_reviews(Path(arguments[0]) if arguments else None)
    study = Study.parse((HERE / "study.yaml").read_bytes(), "study.yaml")
    print("generated from a published seed; customers, consents, makers, people and keys are fictitious")
    for site in SITES:
        reviews = [row for row in train if row["site"] == site]
        author = customers(site, reviews)
        events = consents(sorted(set(author.values())))
        if len(set(author.values())) > study.subjects[site]:
            raise SystemExit(f"study.yaml declares fewer customers of {site} than there are")
        write_rows(HERE / "sites" / site / "records.jsonl.gz", (record(row, author[row["id"]]) for row in reviews))
        write_rows(HERE / "sites" / site / "consent.jsonl", events)
        print(f"{site}: {len(reviews)} reviews, {len(set(author.values()))} customers, {len(events)} consent events")
    write_rows(HERE / "test.jsonl.gz", (record(row, None) for row in test))
    if "sha256:" + hashlib.sha256((HERE / "test.jsonl.gz").read_bytes()).hexdigest() != study.test_set.digest:
        raise SystemExit("study.yaml names another test set; correct test_set.digest and run this again")
    sign_everything()


# ---------------------------------------------------------------------------------------------- reviews


def read_reviews(folder: Path | None) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The training reviews, each with its site, and the test reviews; in the order of the source."""
    if folder is None and SHARED.is_dir():
        folder = SHARED
    if folder is not None:
        return read_rows(folder / "train.jsonl.gz"), read_rows(folder / "test.jsonl.gz")
    train = [{**row, "site": site} for site in SITES for row in read_rows(HERE / "sites" / site / "records.jsonl.gz")]
    return sorted(train, key=lambda row: row["id"]), read_rows(HERE / "test.jsonl.gz")


def record(row: Mapping[str, str], subject: str | None) -> dict[str, str]:
    """A row as it is written: a site's with its customer, a test row without."""
    # a test row says what it is about, so that the report can tell product groups apart
    given = {"subject": subject} if subject else {"group": row.get("site") or row["group"]}
    rest = {key: row[key] for key in ("product", "text", "label")}
    return {"id": row["id"], **given, **rest}


def read_rows(path: Path) -> list[dict[str, str]]:
    """One JSON object a line."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()]


# ---------------------------------------------------------------------------------------------- generated


def draw(*names: str) -> float:
    """A number in [0, 1) that depends on the seed and on what it is drawn for, and on nothing else."""
    text = "\n".join((SEED, *names)).encode("utf-8")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64


def choose(shares: Iterable[tuple[str, float]] | Iterable[tuple[int, float]], *names: str) -> str | int:
    """The entry of a table of shares that a draw falls on."""
    rest = draw(*names)
    for entry, share in shares:
        if rest < share:
            return entry
        rest -= share
    raise ValueError("the shares do not sum to one")


def customers(site: str, reviews: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Review id -> customer; a customer's id begins with the maker's, so nobody is a customer of two."""
    waiting = sorted((row["id"] for row in reviews), key=lambda review: draw("order", site, review))
    author: dict[str, str] = {}
    number = 0
    while waiting:
        number += 1
        customer = f"{site}-c{number:04d}"
        if number % MANY_EVERY == MANY_FIRST:
            count = MANY_FROM + int(draw("how many", customer) * (MANY_TO - MANY_FROM + 1))
        else:
            count = int(choose(REVIEWS_SHARE, "reviews", customer))
        author.update(dict.fromkeys(waiting[:count], customer))
        del waiting[:count]
    return author


def consents(subjects: Sequence[str]) -> list[dict[str, str | None]]:
    """The consent and objection events of these customers, in order of customer and time."""
    rows = []
    for subject in subjects:
        asked = ASKED_FROM + timedelta(days=int(draw("asked", subject) * ASKED_DAYS))
        changed = asked + timedelta(days=1 + int(draw("changed", subject) * CHANGED_DAYS))
        state = choose(CONSENT_SHARE, "consent", subject)
        if state != "never-asked":
            end = asked + timedelta(days=SHORT_DAYS) if state == "expired" else VALID_UNTIL
            rows.append(event(subject, "granted", asked, end))
        if state == "withdrawn":
            rows.append(event(subject, "withdrawn", changed, None))
        if draw("objection", subject) < OBJECTED_SHARE:
            rows.append(event(subject, "objected", changed, None))
    return rows


def event(subject: str, kind: str, at: datetime, expires: datetime | None) -> dict[str, str | None]:
    """One row of consent.jsonl."""
    return {
        "subject": subject,
        "scope": SCOPE,
        "event": kind,
        "at": at.isoformat(),
        "expires": expires.isoformat() if expires else None,
        "notice": NOTICE,
    }


# ---------------------------------------------------------------------------------------------- signed


def sign_everything() -> None:
    """Demo keys, roster, and the signatures in their order: roster, policies, base model, study."""
    keys = {name: key_file(name) for name in (*(party[0] for party in PARTIES), *(person[0] for person in PEOPLE))}
    write(HERE / "roster.yaml", roster_text(keys).encode("utf-8"))
    roster = Roster.parse((HERE / "roster.yaml").read_bytes(), "roster.yaml")
    accepted = sign_statement(roster_statement(roster, file="roster.yaml"), [keys[site] for site in SITES])
    write(HERE / "roster.yaml.dsse.json", write_envelopes([accepted]))

    for site in SITES:
        path = HERE / "sites" / site / "policy.yaml"
        policy = Policy.parse(path.read_bytes(), f"sites/{site}/policy.yaml")
        signers = {"legal": keys[f"{site}-legal"], "it": keys[f"{site}-it"]}
        seen = shown(policy, read_before(HERE, site, policy))
        approve(roster, path, (policy.bytes_digest, policy.canonical_digest), "policy-approval", signers, seen)
    makers_of_the_study = {"legal": keys["hinoki"], "it": keys["kaede"]}
    path = HERE / "base-model.yaml"
    model = BaseModelRecord.parse(path.read_bytes(), path.name)
    approve(roster, path, (model.bytes_digest, model.canonical_digest), "base-model", makers_of_the_study)
    for path in (HERE / "study.yaml", HERE / "study-full.yaml"):
        study = Study.parse(path.read_bytes(), path.name)
        approve(roster, path, (study.digest, study.canonical_digest), "study-approval", makers_of_the_study)


def key_file(name: str) -> SigningKey:
    """The published demo key of this name, in keys/<name>.demo.key."""
    key = demo_key(name)
    path = HERE / "keys" / f"{name}.demo.key"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        key.save(path, None)
    if SigningKey.load(path).public != key.public:
        raise SystemExit(f"{path.name} is not the demo key of that name")
    return key


def roster_text(keys: Mapping[str, SigningKey]) -> str:
    """roster.yaml; written as text so that it reads like a file that people keep."""
    parties = "".join(
        f"  - id: {name}\n"
        f'    name: {{en: "{english}", ja: "{japanese}"}}\n'
        f"    kind: {'site' if name in SITES else 'coordinator'}\n"
        f"    controller: {name}\n"
        f"    country: JP\n"
        f'    key: "{keys[name].public.to_text()}"\n'
        f"    demo: true\n"
        for name, english, japanese in PARTIES
    )
    people = "".join(
        f"  - pseudonym: {name}\n"
        f"    roles: [{role}]\n"
        f'    keys: ["{keys[name].public.to_text()}"]\n'
        f"    acts_for: [{', '.join(site for site in SITES if name.startswith(f'{site}-'))}]\n"
        f"    demo: true\n"
        for name, role in PEOPLE
    )
    return (
        "# GENERATED by prepare.py. Fictitious parties and people; published demo keys, which protect nothing.\n"
        "# 生成ファイル。組織・人物は架空、鍵は公開済みのデモ用であり、何も保護しない。\n"
        "schema: sekisho-roster/1\n"
        "version: 1\n"
        "demo: true\n"
        f'created: "{ROSTER_CREATED.isoformat()}"\n'
        f'expires: "{VALID_UNTIL.isoformat()}"\n'
        f"parties:\n{parties}"
        f"people:\n{people}"
        f"roles: {{{', '.join(f'{role}: 1' for role in ROLES)}}}     # how many must sign in each role\n"
    )


def approve(
    roster: Roster,
    path: Path,
    digests: tuple[str, str],
    kind: str,
    signers: Mapping[str, SigningKey],
    seen: Shown | None = None,
) -> None:
    """One envelope a role, beside the file: over its bytes and over its RFC 8785 form, after seeing ``seen``."""
    subjects = (Subject(path.name, digests[0]), Subject(f"{path.name} (RFC 8785)", digests[1]))
    envelopes = [
        sign_statement(
            approval_statement(
                roster,
                role=role,
                subjects=subjects,
                predicate_type=PREDICATES[kind],
                issued=APPROVED_AT,
                expires=VALID_UNTIL,
                shown=seen,
            ),
            [key],
        )
        for role, key in signers.items()
    ]
    write(path.with_name(path.name + ".dsse.json"), write_envelopes(envelopes))


# ---------------------------------------------------------------------------------------------- writing


def write_rows(path: Path, rows: Iterable[Mapping[str, str | None]]) -> None:
    """JSON Lines; a .gz without time or name in its header."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    if path.suffix != ".gz":
        write(path, data)
    elif not path.exists() or gzip.decompress(path.read_bytes()) != data:
        # Compressors differ between machines: a file that already holds these bytes is left as it is.
        write(path, gzip.compress(data, compresslevel=9, mtime=0))


def write(path: Path, data: bytes) -> None:
    """Write ``data``, making the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1:])
