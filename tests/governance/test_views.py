"""Views say what the entries say, point at them, leave nothing out, and carry nothing that runs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.governance.consent.withdrawal import Reason
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.evidence.material import Material
from sekisho.governance.evidence.ocsf import ROUTINE
from sekisho.governance.evidence.selection import Scope, ScopeKind
from sekisho.governance.evidence.views import tables, view_members
from sekisho.governance.evidence.views_facts import FACTS
from sekisho.governance.evidence.views_law import forms, parse
from sekisho.governance.evidence.views_table import FORMULA, inert
from sekisho.governance.evidence.views_words import spoken
from sekisho.governance.language import LANGUAGES
from sekisho.governance.log.entries import Entry, EntryType, Value
from sekisho.governance.policy.words import catalogue
from sekisho.governance.provenance.revocation import REASONS

from .evidence_example import HUB, NOW, RUN, SITES, members, roster_yaml

SCHEMA = json.loads((Path(__file__).parents[1] / "vectors" / "ocsf-1.9.0-used.json").read_text("utf-8"))
DIGEST = "sha256:" + "ab" * 32
HOSTILE = '<script>alert(1)</script>"\' onload=x <img src=//evil.example/a.png> </style>'
FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", " =1", "＝1", "\t=1", "\r=1")


def entry(kind: str, party: str = "kohi", minutes: int = 0, refs: Mapping[str, str] | None = None,
          **data: Value) -> Entry:
    at = NOW + timedelta(minutes=minutes)
    return Entry(type=kind, party=party, at=at, refs={"run": RUN, **(refs or {})}, data=data)


def spent(party: str, reserved: str, settled: str) -> list[Entry]:
    figures = {"lifetime": "7.5", "lifetime_delta": "0.00002"}
    return [
        entry("budget.reserved", party, 1, epsilon="2.9999", delta="0.00001", steps=7, spent=reserved, **figures),
        entry("budget.settled", party, 2, spent=settled, **figures),
    ]


def everything() -> list[Entry]:
    """One more entry of each type, as a party would write it."""
    codes = {"decision.refuse": ["COHORT_TOO_SMALL", "NO_SUCH_CODE"], "release.refused": ["RELEASE_TWICE"]}
    found = []
    for number, kind in enumerate(EntryType):
        data: dict[str, Value] = {"codes": list(codes[kind])} if kind in codes else {}
        if kind in ("run.stopped", "ledger.disputed"):
            data["code"] = "STOPPED_BY_COORDINATOR"
        if kind == "validation.opened":
            data["accepted"] = False
        found.append(entry(str(kind), refs={"adapter": DIGEST, "commitment": DIGEST, "message": DIGEST}, minutes=number,
                           **data))
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    more = [*everything(), *spent("wanko", "5.5", "4.25"), *spent("okashi", "3.5", "3.125")]
    return members(tmp_path_factory.mktemp("bundle") / "logs", also=more)


@pytest.fixture(scope="module")
def views(bundle: dict[str, bytes]) -> dict[str, bytes]:
    return view_members(bundle)


def rows(views: Mapping[str, bytes], name: str) -> list[dict[str, Any]]:
    found = json.loads(views[f"views/{name}.json"])["rows"]
    assert isinstance(found, list)
    return found


def line(bundle: Mapping[str, bytes], pointer: Mapping[str, Any]) -> Any:
    return json.loads(bundle[f"logs/{pointer['party']}.jsonl"].splitlines()[pointer["index"]])


def test_the_same_members_give_the_same_bytes_and_old_views_are_not_read(
    bundle: dict[str, bytes], views: dict[str, bytes]
) -> None:
    assert view_members({**dict(reversed(bundle.items())), "views/en/index.html": b"<script>"}) == views


def test_every_row_points_at_an_entry_that_says_it(bundle: dict[str, bytes], views: dict[str, bytes]) -> None:
    seen = 0
    for table in tables(Material.read(bundle)):
        for row in rows(views, table.name):
            assert row["entries"], (table.name, row)
            for pointer in row["entries"]:
                if "member" in pointer:
                    assert bundle[pointer["member"]].splitlines()[pointer["line"] - 1]
                    continue
                found = line(bundle, pointer)
                seen += 1
                assert found["party"] == pointer["party"]
                if table.name in ("refusals", "releases", "consent", "spending"):
                    assert (found["type"], found["refs"].get("run", "")) in [(row["event"], row["run"])]
                    assert found["at"] == row["at"] and found["party"] == row.get("party", row.get("maker"))
                if row.get("code"):
                    assert row["code"] in [*found["data"].get("codes", []), found["data"].get("code")]
    assert seen > 50


def test_the_first_table_says_what_each_makers_own_log_says(views: dict[str, bytes]) -> None:
    found = {row["maker"]: row for row in rows(views, "budget")}
    assert set(found) == set(SITES)
    assert (found["wanko"]["spent"], found["wanko"]["limit"]) == ("4.25", "7.5")
    assert found["okashi"]["spent"] == "3.125"
    assert found["kohi"]["spent"] == ""        # its log has entries about the budget, and none has a figure
    for row in found.values():
        for who in ("legal counsel-1", "it admin-1"):
            assert who in row["allowed"]
        assert {one["party"] for one in row["entries"] if "party" in one} <= {row["maker"]}


def test_a_run_without_a_settlement_counts_as_it_was_reserved(tmp_path: Path) -> None:
    found = members(tmp_path, also=spent("wanko", "5.5", "4.25")[:1])
    assert {row["maker"]: row["spent"] for row in rows(view_members(found), "budget")}["wanko"] == "5.5"


def test_every_type_of_entry_is_counted_in_a_view_and_has_words(
    bundle: dict[str, bytes], views: dict[str, bytes]
) -> None:
    counted = {(row["party"], row["type"]): row["count"] for row in rows(views, "journal")}
    assert {kind for _, kind in counted} >= {str(kind) for kind in EntryType}
    for party in (*SITES, HUB):
        in_log = len(bundle[f"logs/{party}.jsonl"].splitlines())
        assert sum(number for (who, _), number in counted.items() if who == party) == in_log
    for kind in EntryType:
        assert f"evidence_types.{kind}" in catalogue(), f"{kind} needs a line in evidence_types.toml"


@pytest.mark.parametrize(("table", "kinds"), [
    ("refusals", {"decision.refuse", "release.refused", "run.stopped", "stop.honoured", "step.abandoned",
                  "block.rolled-back", "validation.opened"}),
    ("releases", {"release.published", "release.refused", "release.revoked", "adapter.used", "personal.asked"}),
    ("consent", {"consent.imported", "consent.withdrawn", "consent.erased", "remedy.due", "remedy.done"}),
    ("spending", {"budget.reserved", "budget.settled"}),
    ("disputes", {"ledger.disputed", "log.contradicted"}),
])  # fmt: skip
def test_nothing_that_a_view_answers_is_left_out(
    table: str, kinds: set[str], bundle: dict[str, bytes], views: dict[str, bytes]
) -> None:
    shown = {(one["party"], one["index"]) for row in rows(views, table) for one in row["entries"] if "party" in one}
    logged = {
        (party, index) for party in (*SITES, HUB)
        for index, one in enumerate(bundle[f"logs/{party}.jsonl"].splitlines()) if json.loads(one)["type"] in kinds
    }
    assert logged and shown == logged


def test_a_refusals_code_has_its_sentence_in_both_languages_and_an_unknown_one_says_so(views: dict[str, bytes]) -> None:
    for language, small, unknown in (("en", "required: at least […]", "no sentence for this code"),
                                     ("ja", "以上が必要である", "説明文はない")):
        table = views[f"views/{language}/refusals.csv"].decode("utf-8")
        assert small in table and unknown in table


def test_only_a_signature_that_holds_is_an_approval(bundle: dict[str, bytes]) -> None:
    first, second = bundle["study.yaml.dsse.json"].splitlines(keepends=True)
    forged = json.loads(first)
    forged["signatures"][0]["sig"] = json.loads(second)["signatures"][0]["sig"]
    lines = json.dumps(forged, sort_keys=True, separators=(",", ":")).encode() + b"\n" + second
    found = Material.read({**bundle, "study.yaml.dsse.json": lines}).approvals
    assert [one.role for one in found if one.paper == "study.yaml"] == ["it"]


# --- injection -------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(data.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "nav", "p", "a", "h1", "h2", "div", "table",
    "thead", "tbody", "tr", "th", "td", "span", "ul", "li", "dl", "dt", "dd", "code", "pre", "figure", "figcaption",
    "svg", "g", "rect", "line", "circle", "polygon", "polyline", "text",
}  # fmt: skip
ATTRIBUTES = re.compile(r"on\w+|style|src|srcset|formaction|action|background|poster|data|ping|xlink:href")


def hostile_bundle(folder: Path) -> dict[str, bytes]:
    written = json.dumps(HOSTILE)
    yaml = roster_yaml().decode().replace("Kohi Foods", "X").replace("{en: X,", f"{{en: {written},")
    study = (f"schema: sekisho-study/1\nid: food-quality\nrequester: analyst-1\n"
             f"title: {{en: {written}, ja: {written}}}\n"
             f"question: {{en: {written}, ja: {written}}}\npurpose: {json.dumps('=cmd|x')}\nsites:\n- kohi\n")
    return members(folder, yaml=yaml.encode(), study=study.encode(), also=spent("kohi", "3.5", "3.125"))


def test_html_from_papers_is_inert_on_every_page(tmp_path: Path) -> None:
    found = view_members(hostile_bundle(tmp_path))
    said = 0
    for name, data in found.items():
        if not name.endswith(".html"):
            continue
        page = Page(data)
        assert {tag for tag, _ in page.tags} <= TAGS, name
        for tag, attributes in page.tags:
            assert not any(ATTRIBUTES.fullmatch(one) for one in attributes), (name, tag, attributes)
            link = attributes.get("href")
            assert link is None or re.fullmatch(r"[A-Za-z0-9./#_-]+", link), (name, link)
        said += HOSTILE in " ".join(page.texts)
        assert b"@import" not in data and b"url(" not in data
    assert said >= 2 * 10     # the title stands on every page, as text


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    for name, data in view_members(hostile_bundle(tmp_path)).items():
        if name.endswith(".csv"):
            assert data.startswith(b"\xef\xbb\xbf")
            for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))):
                assert not any(cell.lstrip()[:1] in tuple(FORMULA) for cell in row), (name, row)


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_in_a_cell_becomes_text(cell: str) -> None:
    (shown,) = inert([cell])
    assert shown.startswith("'")


@given(st.text())
def test_whatever_a_cell_holds_a_spreadsheet_and_a_line_are_safe(cell: str) -> None:
    (shown,) = inert([cell])
    assert shown.lstrip()[:1] not in tuple(FORMULA)
    assert not re.search(r"[\x00-\x1f\u202a-\u202e\u2066-\u2069]", shown)


# --- languages, law, SIEM, selections --------------------------------------------------------------------------------


def test_both_languages_have_the_same_pages_and_say_so(views: dict[str, bytes]) -> None:
    names = {one: {name.removeprefix(f"views/{one}/") for name in views if name.startswith(f"views/{one}/")}
             for one in LANGUAGES}
    assert names["en"] == names["ja"] and len(names["en"]) > 20
    for name in names["en"]:
        if name.endswith(".html"):
            for one in LANGUAGES:
                page = Page(views[f"views/{one}/{name}"])
                assert ("html", {"lang": one}) in page.tags
            assert re.search("[ぁ-ん]", views[f"views/ja/{name}"].decode())


def test_on_a_phone_each_cell_says_which_column_it_is_of_in_the_pages_language(views: dict[str, bytes]) -> None:
    for one, names in (("en", ["Maker", "ε spent", "Purpose"]), ("ja", ["メーカー", "消費したε", "目的"])):
        told = [attributes.get("data-title") for tag, attributes in Page(views[f"views/{one}/index.html"]).tags
                if tag in ("th", "td") and "data-title" in attributes]
        assert set(names) <= set(told) and len(told) == 8 * len(SITES)


def test_every_link_between_pages_leads_somewhere(views: dict[str, bytes]) -> None:
    for name, data in views.items():
        if not name.endswith(".html"):
            continue
        for tag, attributes in Page(data).tags:
            link = attributes.get("href") if tag == "a" else None
            if link:
                file, _, place = link.partition("#")
                target = str(Path("/", name).parent.joinpath(file).resolve()).lstrip("/")
                assert target in views, (name, link)
                assert not place or f'id="{place}"' in views[target].decode(), (name, link)


def test_each_form_leaves_the_law_to_counsel_and_names_its_version() -> None:
    assert {form.id for form in forms()} == {
        "gdpr-art30", "gdpr-art35", "eu-ai-act-annex-iv", "eu-ai-act-art12", "appi-art29", "hipaa-164-528"}
    for form in forms():
        assert form.version and form.source and any(field.left for field in form.field)
    assert {name for form in forms() for field in form.field for name in field.facts} <= set(FACTS)


def test_the_overview_does_not_say_that_its_own_words_are_verified(views: dict[str, bytes]) -> None:
    assert "verify.py does not judge what they say" in views["views/en/index.html"].decode()
    assert "verify.pyは判定しない" in views["views/ja/index.html"].decode()


def test_no_reason_or_outcome_is_a_word_of_programs() -> None:
    outcomes = {"revoked", "destroyed", "retrained", "notified", "kept", "no-adapter"}
    for word in {*REASONS, *map(str, Reason), *outcomes}:
        said = spoken(word)
        assert word not in (said.en, said.ja) and re.search("[ぁ-ん一-龥ァ-ン]", said.ja), word


def test_a_form_cites_its_law_in_the_words_of_the_reader(views: dict[str, bytes]) -> None:
    for form in forms():
        page = views[f"views/ja/{form.id}.html"].decode()
        assert not re.search(r"Rules \d|Annex IV|corrigendum|Electronic Code", page), form.id
        for field in form.field:
            assert field.article.ja in page and field.article.en in views[f"views/en/{form.id}.html"].decode()
            assert form.id == "hipaa-164-528" or "第" in field.article.ja


def test_what_a_policy_demands_is_not_told_as_what_was_done(views: dict[str, bytes]) -> None:
    told = [row for form in forms() for row in rows(views, form.id)]
    for words in ("years at least", "sites in a step", "leave the site", "differential", "when consent is withdrawn"):
        assert all("its policy" in row["fact"] for row in told if words in row["fact"]), words


def test_no_fact_of_a_form_is_a_code_without_words_or_ends_in_a_dash(views: dict[str, bytes]) -> None:
    for form in forms():
        for row in rows(views, form.id):
            assert not re.search(r"( –|[A-Z]_[A-Z]+)$", row["fact"]), row["fact"]


def test_a_form_in_one_language_or_with_an_unknown_fact_does_not_load() -> None:
    whole = (Path(__file__).parents[2] / "policies" / "law" / "gdpr-art30.toml").read_text("utf-8")
    assert parse(whole, "gdpr-art30.toml").id == "gdpr-art30"
    mistakes = (('"purposes"', '"wishes"'), ('ja = "取扱いの目的"', 'ja = ""'), ("version = {", "edition = {"))
    for right, wrong in mistakes:
        assert right in whole
        with pytest.raises(BadDocumentError) as caught:
            parse(whole.replace(right, wrong, 1), "gdpr-art30.toml")
        assert caught.value.code == "LAW_MALFORMED"


def test_events_are_valid_in_the_classes_that_they_name(bundle: dict[str, bytes], views: dict[str, bytes]) -> None:
    events = [json.loads(one) for one in views["views/ocsf.jsonl"].splitlines()]
    wanted = [one for one in Material.read(bundle).entries if one.entry.type not in ROUTINE]
    assert sorted(one["metadata"]["uid"] for one in events) == sorted(f"{one.party}/{one.index}" for one in wanted)
    assert [one["time"] for one in events] == sorted(one["time"] for one in events)
    for one in events:
        check_event(one)


def check_event(one: Mapping[str, Any]) -> None:
    base, of_class = SCHEMA["base"], SCHEMA["classes"][str(one["class_uid"])]
    required = {*base["required"], *of_class["required"]}
    assert required <= set(one) <= required | {*base["optional"], *of_class["optional"]}, one
    assert one["class_name"] == of_class["name"] and one["category_uid"] == of_class["category_uid"]
    assert one["activity_id"] in of_class["activity_id"] and one["severity_id"] in base["severity_id"]
    assert one["type_uid"] == one["class_uid"] * 100 + one["activity_id"]
    assert one["status_id"] in of_class.get("status_id", base["status_id"])
    assert type(one["time"]) is int and one["time"] > 10**12
    assert set(SCHEMA["metadata"]["required"]) <= set(one["metadata"])
    assert set(one["metadata"]) <= {*SCHEMA["metadata"]["required"], *SCHEMA["metadata"]["optional"]}
    assert one["metadata"]["version"] == SCHEMA["version"]
    for name, rule in SCHEMA["objects"].items():
        value = one["metadata"]["product"] if name == "product" else one.get(name)
        if value is not None:
            assert set(rule.get("required", ())) <= set(value)
            assert "any" not in rule or set(rule["any"]) & set(value), (name, value)


def selected(bundle: Mapping[str, bytes], keep: Sequence[int]) -> dict[str, bytes]:
    found = {name: data for name, data in bundle.items() if not name.startswith("logs/kohi.jsonl")}
    lines = bundle["logs/kohi.jsonl"].splitlines()
    chosen = [{"entry": json.loads(lines[at]), "index": at, "proof": []} for at in keep]
    found["logs/kohi.selected.jsonl"] = b"".join(
        json.dumps(one, sort_keys=True, separators=(",", ":")).encode() + b"\n" for one in chosen)
    return found


def test_a_selection_says_that_it_is_one_and_keeps_the_entries_numbers(bundle: dict[str, bytes]) -> None:
    found = view_members(selected(bundle, [1, 3]))
    assert "A selection." in found["views/en/index.html"].decode()
    assert "抜粋。" in found["views/ja/index.html"].decode()
    shown = {one["index"] for row in rows(found, "journal") for one in row["entries"] if one.get("party") == "kohi"}
    assert shown == {1, 3}
    assert "A selection." not in view_members(bundle)["views/en/index.html"].decode()


def test_whatever_page_of_a_selection_is_filed_alone_says_that_it_is_one(bundle: dict[str, bytes]) -> None:
    whole, part = view_members(bundle), view_members(bundle, Scope(ScopeKind.RUN, of="run-1"))
    for name, data in part.items():
        if name.endswith(".html"):
            said = "A selection." if "/en/" in name else "抜粋。"
            assert said in data.decode() and said not in whole[name].decode(), name
            assert "run-1" in data.decode().split(said)[1].split("</p>")[0], name
    for form in forms():
        assert "A demonstration." in whole[f"views/en/{form.id}.html"].decode()


def test_a_proof_of_misbehaviour_stands_among_the_disputes_and_names_whom_it_accuses(bundle: dict[str, bytes]) -> None:
    proof = {"schema": "sekisho-misbehaviour/1", "kind": "fork", "origin": f"sekisho.example/food-quality/{HUB}",
             "evidence": []}
    found = view_members({**bundle, "misbehaviour/0123456789abcdef.json": json.dumps(proof).encode()})
    row = next(row for row in rows(found, "disputes") if row["event"] == "misbehaviour")
    assert (row["party"], row["sentence"]) == (HUB, "fork")
    assert "two histories of one length" in found["views/en/disputes.html"].decode()
    assert json.loads(found["views/ocsf.jsonl"].splitlines()[-1])["metadata"]["event_code"] == "misbehaviour"


@pytest.mark.parametrize(("name", "data"), [
    ("logs/kohi.selected.jsonl", b'{"index":-1}\n'), ("logs/kohi.selected.jsonl", b"[]\n"),
    ("misbehaviour/0.json", b"\xff"), ("study.yaml", b"- a\n"),
])  # fmt: skip
def test_a_member_that_is_not_what_its_name_says_is_refused(name: str, data: bytes, bundle: dict[str, bytes]) -> None:
    found = {one: value for one, value in bundle.items() if one != "logs/kohi.jsonl"}
    with pytest.raises(BadDocumentError) as caught:
        Material.read({**found, name: data})
    assert caught.value.code == "EVIDENCE_UNREADABLE"
