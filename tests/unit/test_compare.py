"""The figures of the comparisons, on groupings small enough to be checked by hand."""

import itertools
import random
import sys
from pathlib import Path

import duckdb
import pytest

from bench.agreement import (
    adjusted_rand_index,
    best_matching,
    group_stability,
    matched_macro_f1,
)
from bench.clusters import main as compare_clusters
from bench.methods import lose_events, share_that_differs
from viewer_personas.errors import InputError


def grouping(groups: str) -> dict[str, str]:
    """A grouping of the viewers 0, 1, 2, …: one letter for each."""
    return {str(number): group for number, group in enumerate(groups)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param("aabbcc", "xxyyzz", 1.0, id="equal_but_for_the_names"),
        pytest.param("aaaa", "xxxx", 1.0, id="one_group_each"),
        pytest.param("abcd", "wxyz", 1.0, id="a_group_for_each_viewer"),
        pytest.param("aaaa", "wxyz", 0.0, id="all_against_one_group"),
        # pairs: 1 in both, 2 and 2 in each of the two, 2/3 by chance
        pytest.param("aabb", "xxyz", (1 - 2 / 6) / (1.5 - 2 / 6), id="one_group_split"),
        pytest.param("aabb", "xyxy", (0 - 4 / 6) / (2 - 4 / 6), id="less_than_chance"),
        pytest.param("a", "x", 1.0, id="one_viewer"),
        pytest.param("", "", None, id="no_viewer"),
    ],
)
def test_adjusted_rand_index(one: str, other: str, expected: float | None) -> None:
    found = adjusted_rand_index(grouping(one), grouping(other))
    assert found == (None if expected is None else pytest.approx(expected))
    assert adjusted_rand_index(grouping(other), grouping(one)) == found


def test_viewers_of_one_grouping_only_are_left_out() -> None:
    one, other = grouping("aabb"), {**grouping("xxyy"), "new": "x"}
    del one["3"]
    assert adjusted_rand_index(one, other) == 1
    assert group_stability(one, other) == {"a": 1, "b": 1}
    assert matched_macro_f1(one, other) == 1


def test_the_stability_of_a_group_is_that_of_its_most_similar_group() -> None:
    # a: {0, 1, 2} against {0, 1} and {2, 3, 4, 5}; b: {3, 4, 5}; c is gone into the latter, too
    found = group_stability(grouping("aaabbc"), grouping("xxyyyy"))
    assert found == {
        "a": pytest.approx(2 / 3),
        "b": pytest.approx(2 / 4),
        "c": pytest.approx(1 / 4),
    }


def test_a_group_whose_viewers_are_all_gone_has_no_stability() -> None:
    assert group_stability(grouping("ab"), {"0": "x"}) == {"a": 1}
    assert group_stability({}, {}) == {}


def test_macro_f1_after_the_best_matching() -> None:
    # x has 3 of 4 a (F1 6 / 7), y the fourth a and both b (F1 4 / 5)
    assert matched_macro_f1(grouping("xxxyyy"), grouping("aaaabb")) == pytest.approx(
        (6 / 7 + 4 / 5) / 2
    )


def test_a_true_group_without_a_partner_counts_as_not_found() -> None:
    assert matched_macro_f1(grouping("xxxx"), grouping("aaab")) == pytest.approx(6 / 7 / 2)
    # more groups than true ones: the smaller part of a is matched with nothing
    assert matched_macro_f1(grouping("xxyz"), grouping("aaab")) == pytest.approx((4 / 5 + 1) / 2)
    assert matched_macro_f1({}, {}) is None


def test_the_matching_is_not_greedy() -> None:
    # the largest score first would leave 0 for the other row
    assert best_matching([[9, 8], [8, 0]]) == [(0, 1), (1, 0)]


def test_no_other_matching_is_better() -> None:
    drawn = random.Random(3)
    for rows, columns in itertools.product(range(1, 6), repeat=2):
        scores = [[drawn.choice([0, 0.25, drawn.random()]) for _ in range(columns)]
                  for _ in range(rows)]  # fmt: skip
        pairs = best_matching(scores)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
        assert len(pairs) == min(rows, columns)
        if rows <= columns:
            options = [
                list(enumerate(chosen)) for chosen in itertools.permutations(range(columns), rows)
            ]
        else:
            options = [
                [(row, column) for column, row in enumerate(chosen)]
                for chosen in itertools.permutations(range(rows), columns)
            ]
        best = max(sum(scores[row][column] for row, column in option) for option in options)
        assert sum(scores[row][column] for row, column in pairs) == pytest.approx(best)
    assert best_matching([]) == []


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The files of a demo: 4,000 events in two files."""
    folder = tmp_path / "demo"
    (folder / "events").mkdir(parents=True)
    for name in ("sources.yml", "contents.jsonl", "users.jsonl", "truth.csv"):
        (folder / name).write_text(name)
    for day in (1, 2):
        duckdb.execute(
            f"copy (select 'anna' as viewer, {day} * 2000 + number as event"
            f" from range(2000) as numbers (number)) to '{folder}/events/{day}.parquet'"
        )
    return folder


def events_of(service: Path) -> set[int]:
    rows = duckdb.execute(f"select event from '{service}/events/*.parquet'").fetchall()
    assert len(rows) == len(set(rows))
    return {event for (event,) in rows}


def test_a_twentieth_of_the_events_is_lost_and_the_seed_says_which(
    demo: Path, tmp_path: Path
) -> None:
    lost = lose_events(demo, tmp_path / "once", seed=1)
    assert 140 <= lost <= 260
    kept = events_of(tmp_path / "once")
    assert len(kept) == 4000 - lost and kept < events_of(demo)
    # not the same rows of each file
    assert {event + 2000 for event in kept if event < 4000} != {e for e in kept if e >= 4000}
    lose_events(demo, tmp_path / "again", seed=1)
    assert events_of(tmp_path / "again") == kept
    lose_events(demo, tmp_path / "other", seed=2)
    assert events_of(tmp_path / "other") != kept
    assert (tmp_path / "once" / "truth.csv").read_text() == "truth.csv"


def test_a_service_without_event_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no events/\*\.parquet"):
        lose_events(tmp_path / "nowhere", tmp_path / "lost", seed=1)


def test_a_viewer_who_is_gone_differs() -> None:
    placed = {"same": "binger", "moved": "binger", "gone": "casual", "same_too": "casual"}
    again = {"same": "binger", "moved": "casual", "same_too": "casual", "new": "casual"}
    assert share_that_differs(placed, again) == 0.5


def test_without_scikit_learn_the_message_says_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SystemExit) as stopped:
        compare_clusters(tmp_path, bootstraps=1, losses=0)
    assert stopped.value.code == 2
    assert "make compare-clusters" in capsys.readouterr().err
