"""benchmarks/aggregation.py can be believed: it sums what it says, and a wrong sum or a missed promise shows."""

from dataclasses import replace

import numpy as np
import pytest

from sekisho.benchmarks import aggregation, blind_sum
from sekisho.benchmarks.peers import flower, pad, plain, scheme

SITES, PARAMETERS = 3, 3000


@pytest.fixture(scope="module")
def report():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregation, "ADAPTER", PARAMETERS)
        return aggregation.measure(1, PARAMETERS, SITES, [4])


def rows(report):
    return {row["name"]: row for row in report["schemes"]}


def test_every_scheme_comes_to_the_same_mean(report):
    for name, row in rows(report).items():
        assert row["exact"] in {True, None}
        # the coarsest is 3x16 without rotation, sized for vectors that all point the same way
        assert row["error_max"] < 0.001, name
        assert row["bytes_up"] > 1.9, name


def test_what_is_ours_is_the_products_sum_and_exact(report):
    ours = [row for name, row in rows(report).items() if name.startswith("ours")]
    assert len(ours) >= 3
    assert all(row["exact"] is True for row in ours)
    assert [row["sites"] for row in report["cohorts"]] == [4]
    assert report["cohorts"][0]["exact"] is True


def test_bytes_are_those_of_whole_signed_messages():
    measured = aggregation.summed(aggregation.ours("3x16", SITES, PARAMETERS))
    words = -(-PARAMETERS // 3)
    assert len(measured.wires[0]) > 7.5 * words + 64 + 64
    assert measured.wires[0].startswith(b"SKM1")
    assert measured.down.startswith(b"SKM1")
    assert measured.up == len(measured.wires[0]) / PARAMETERS


def test_a_promise_that_was_not_kept_is_shown_as_missed(report, capsys):
    assert aggregation.at_most("bytes", 2.56, 2.55)["met"] is False
    assert aggregation.at_least("times", 19.9, 20)["met"] is False
    kept = aggregation.at_most("bytes", 2.55, 2.55), aggregation.at_least("times", 20, 20)
    assert all(one["met"] for one in kept)
    aggregation.show({**report, "targets": [aggregation.at_most("bytes", 2.56, 2.55)]})
    assert "MISSED" in capsys.readouterr().out


def test_one_inexact_sum_anywhere_is_a_promise_missed():
    one = aggregation.summed(plain.Plain(np.float32, 2, 10))
    one.once()
    by_name = dict.fromkeys((aggregation.OURS, aggregation.NVFLARE, aggregation.FLOAT32, "ours 2x24"), one)
    right, wrong = replace(one, exact=True), replace(one, exact=False)

    def all_exact(schemes, adapter, cohorts):
        *_, last = aggregation.targets(schemes, adapter, cohorts)
        return last["met"]

    assert all_exact(by_name, right, [right])
    assert not all_exact(by_name, wrong, [right])
    assert not all_exact(by_name, right, [right, wrong])
    assert not all_exact({**by_name, "another": wrong}, right, [right])


class OffByOne(blind_sum.BlindSum):
    def open(self, data):
        opened = super().open(data)
        opened[-1] += 1
        return opened


def test_a_sum_that_is_off_by_one_is_not_called_exact():
    largest = aggregation.largest_sum("3x16", SITES, PARAMETERS)
    wrong = aggregation.summed(OffByOne("3x16", SITES, PARAMETERS, largest=largest))
    assert wrong.exact is False
    right = aggregation.summed(aggregation.ours("3x16", SITES, PARAMETERS))
    assert right.exact is True


def test_no_vector_passes_the_bound_that_the_grid_is_made_from():
    for site in range(5):
        for parameters in (1, 100, PARAMETERS):
            norm = np.linalg.norm(aggregation.vector_of(site, parameters).astype(float))
            assert norm <= aggregation.norm_bound(parameters)


def test_the_pad_hides_what_it_sums():
    largest = aggregation.largest_sum("3x16", SITES, PARAMETERS)
    padded = pad.Pad(SITES, PARAMETERS, largest=largest)
    down = aggregation.summed(padded).down
    padded.run_secret = blind_sum.RunSecret.generate()
    other = padded.open(down)
    assert np.abs(other.astype(float)).mean() > 1000


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    def absent(sites, dimension):
        raise ImportError("No module named 'flwr'")

    monkeypatch.setattr(flower, "SecAggPlus", absent)
    schemes, missing = aggregation.everyone(SITES, PARAMETERS)
    assert "pip install flwr" in missing["Flower SecAgg+, functions"]
    assert all(isinstance(one, scheme.Scheme) for one in schemes)
