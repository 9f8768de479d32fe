"""The picture of a lineage: one file by itself, nothing cut, every row with its sign and its words."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.evidence.graph import WIDTH, Group, Row, Sign, graph
from sekisho.governance.language import Catalogue
from sekisho.governance.provenance.drawing import as_svg
from sekisho.governance.provenance.lineage import HOLDS, Edge, Kind, Lineage, Node, Verdict

SVG = "{http://www.w3.org/2000/svg}"
TEXTS = Catalogue.load("sekisho.governance", "texts")
CODES = [key.removeprefix("lineage.reasons.") for key in sorted(TEXTS.keys()) if key.startswith("lineage.reasons.")]

rows = st.builds(Row, st.text(max_size=80), st.text("0123456789abcdef", max_size=12), st.sampled_from(Sign),
                 st.text(max_size=60))
groups = st.lists(st.builds(Group, st.text(max_size=40), st.lists(rows, min_size=1, max_size=5).map(tuple)), max_size=4)


def drawn(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.tag == SVG + "svg"
    return root


@settings(max_examples=40, deadline=None)
@given(groups, groups, st.text(max_size=60))
def test_whatever_it_is_given_it_stays_one_picture_that_loads_nothing(
    left: list[Group], right: list[Group], title: str
) -> None:
    svg = graph(title, "", spine=("Run", title), left=left, right=right, legend=[(Sign.BROKEN, title)])
    plain = "".join(letter for letter in svg if letter in "\t\n\r" or (letter >= " " and letter not in "\ufffe\uffff"))
    height = float(drawn(plain).attrib["height"])
    for element in drawn(plain).iter():
        assert element.tag in {SVG + tag for tag in ("svg", "title", "desc", "style", "rect", "text", "circle", "path",
                                                     "polyline")}
        assert not {"href", "onload", "src"} & set(element.attrib)
        if element.tag == SVG + "text":
            assert 0 <= float(element.attrib["x"]) <= WIDTH and 0 <= float(element.attrib["y"]) <= height
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "").replace(title, "") or "http" in title


def lineage(verdict: Verdict, code: str) -> Lineage:
    nodes = (Node("study", Kind.STUDY, "study.yaml", "sha256:" + "a" * 64), Node("run:r", Kind.RUN, "r-1"),
             Node("adapter:r", Kind.ADAPTER, "adapter.safetensors"), Node("release:r", Kind.RELEASE, "r"))
    return Lineage(nodes, (Edge("study", "run:r", verdict, code, ()), Edge("run:r", "adapter:r", verdict, code, ()),
                           Edge("adapter:r", "release:r", verdict, code, ())))


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("code", CODES)
def test_every_reason_has_words_and_a_sign_beside_its_colour(language: str, code: str) -> None:
    verdict = Verdict.VERIFIED if code == HOLDS else Verdict.BROKEN
    root = drawn(as_svg(lineage(verdict, code), TEXTS, language))  # type: ignore[arg-type]  # parametrised
    shown = [element.text for element in root.iter(SVG + "text")]
    assert (TEXTS.render(f"lineage.reasons.{code}", language) in shown) is (code != HOLDS)
    signs = [element for element in root.iter(SVG + "circle") if element.attrib["class"] == f"disc-{verdict}"]
    assert len(signs) == 3 + 1  # each edge, and the legend


def test_every_code_of_an_edge_and_every_kind_of_node_has_words() -> None:
    import re
    from pathlib import Path

    import sekisho.governance.provenance as house

    folder = Path(house.__file__).parent
    source = "".join((folder / name).read_text("utf-8") for name in ("tracing.py", "material.py", "handover.py"))
    named = set(re.findall(r'(?:broken|unchecked|_without_roster)\("([A-Z_]+)"\)', source))
    assert named and named <= set(CODES)
    assert {f"lineage.kinds.{kind}" for kind in Kind} <= set(TEXTS.keys())
