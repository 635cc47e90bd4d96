"""Paired intervals and skills from scores whose differences are known."""

import numpy as np
import pytest

from gpo_ray.evaluation.report import render_report
from gpo_ray.evaluation.statistics import compare, interval, statistics
from gpo_ray.evaluation.summary import accuracy_table, cells, table, text_table


def scores(methods, seeds=4, groups=20, fraction=0.6, spread=0.2, noise=0.01, seed=0):
    """Rows of methods whose alignment is a group's level plus the method's constant plus a little noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(seeds):
        level = 0.5 + spread * rng.uniform(-1, 1, groups)
        for method, constant in methods.items():
            for g in range(groups):
                value = float(level[g] + constant + noise * rng.normal())
                row = {"method": method, "protocol": "paper", "fraction": fraction, "seed": s}
                row |= {"group_id": f"g{g}", "topic": None, "context": 5, "curve": False, "questions": 10}
                rows.append(row | {"alignment": value, "accuracy": value / 2})
    return rows


ROWS = scores({"gpo": 0.05, "paper": 0.02, "train-mean": 0.0, "ridge-mix": 0.03, "uniform": -0.1})


def test_interval_covers_the_known_difference_as_often_as_it_says():
    covered = 0
    for seed in range(60):
        found = compare(
            scores({"gpo": 0.03, "uniform": 0.0}, seeds=8, noise=0.05, seed=seed),
            "gpo",
            "uniform",
            "alignment",
        )
        covered += found["low"] < 0.03 < found["high"]
    assert 0.85 <= covered / 60 <= 1


def test_interval_is_paired():
    """Groups differ by far more than methods do, which a comparison on the same groups does not see."""
    found = compare(ROWS, "gpo", "train-mean", "alignment")
    assert found["difference"] == pytest.approx(0.05, abs=0.005)
    assert found["high"] - found["low"] < 0.02
    assert found["rows"] == 80
    back = compare(ROWS, "train-mean", "gpo", "alignment")
    assert back["difference"] == pytest.approx(-found["difference"])
    half = compare(ROWS, "gpo", "train-mean", "accuracy")
    assert half["difference"] == pytest.approx(found["difference"] / 2)


def test_order_of_rows_changes_nothing():
    shuffled = [ROWS[i] for i in np.random.default_rng(0).permutation(len(ROWS))]
    assert compare(shuffled, "gpo", "paper", "alignment") == compare(ROWS, "gpo", "paper", "alignment")


def test_difference_is_that_of_the_table():
    means = {r["method"]: r["alignment"] for r in table(cells(ROWS))}
    found = compare(ROWS, "gpo", "paper", "alignment")
    assert found["difference"] == pytest.approx(means["gpo"] - means["paper"])


def test_only_groups_that_both_answer_count():
    rows = [r for r in ROWS if not (r["method"] == "paper" and r["group_id"] == "g3")]
    rows += [ROWS[0] | {"curve": True, "alignment": 9.0}, ROWS[1] | {"group_id": "x", "alignment": None}]
    assert compare(rows, "gpo", "paper", "alignment")["rows"] == 76
    assert compare(rows, "gpo", "no-such", "alignment") is None


def test_seeds_that_disagree_widen_the_interval():
    agree = [np.full(30, 0.02), np.full(30, 0.02), np.full(30, 0.02)]
    disagree = [np.full(30, 0.0), np.full(30, 0.02), np.full(30, 0.04)]
    assert interval(agree) == pytest.approx((0.02, 0.02))
    low, high = interval(disagree)
    assert low == pytest.approx(0, abs=0.007)
    assert high == pytest.approx(0.04, abs=0.007)


def test_single_seed_resamples_groups_and_is_as_numpy_says():
    values = np.random.default_rng(0).normal(size=50)
    low, high = interval([values], resamples=20000)
    error = 1.96 * values.std() / np.sqrt(50)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.03)
    assert interval([np.asarray([0.3])]) == pytest.approx((0.3, 0.3))
    assert interval([values]) == interval([values])
    assert interval([values]) != interval([values], seed=1)


def test_best_baseline_is_a_plain_one_for_each_fraction():
    rows = ROWS + scores({"gpo": 0.0, "ridge-mix": 0.0, "low-rank": 0.03}, fraction=0.2)
    best = statistics(rows)["best_baseline"]
    assert [(b["fraction"], b["method"]) for b in best] == [(0.2, "low-rank"), (0.6, "ridge-mix")]


def test_skill_is_the_part_of_the_room_taken():
    found = {s["method"]: s for s in statistics(ROWS)["skills"]}
    means = {r["method"]: r["alignment"] for r in table(cells(ROWS))}
    room = 1 - means["ridge-mix"]
    assert found["gpo"]["over_best_baseline"] == pytest.approx((means["gpo"] - means["ridge-mix"]) / room)
    assert found["ridge-mix"]["over_best_baseline"] == 0
    assert found["train-mean"]["over_train_mean"] == 0
    assert found["uniform"]["over_train_mean"] < 0
    alone = statistics(scores({"gpo": 0.0, "paper": 0.0}))
    assert {s["over_train_mean"] for s in alone["skills"]} == {None}
    assert alone["best_baseline"] == []


def test_gpo_is_compared_with_all_and_paper_with_the_best_baseline():
    found = statistics(ROWS)["comparisons"]
    pairs = {(c["method"], c["against"], c["metric"]) for c in found}
    others = {("gpo", m) for m in ("paper", "train-mean", "ridge-mix", "uniform")} | {("paper", "ridge-mix")}
    assert pairs == {(*p, m) for p in others for m in ("alignment", "accuracy")}
    assert all(c["low"] <= c["difference"] <= c["high"] for c in found)
    assert statistics(scores({"uniform": 0.0}))["comparisons"] == []


def test_spread_over_groups_is_that_of_a_split():
    cell = cells(ROWS)[0]
    mine = [r["alignment"] for r in ROWS if r["method"] == "gpo" and r["seed"] == cell["seed"]]
    assert cell["group_spread"] == pytest.approx(np.std(mine))
    assert cell["worst_group"] == min(mine)


def test_text_table_ends_with_the_difference_to_the_best_baseline():
    lines = text_table(cells(ROWS), statistics(ROWS)).splitlines()
    assert max(map(len, lines)) <= 80
    last = " ".join(" ".join(lines[lines.index("") :]).split())
    assert last.startswith("60% of groups: gpo +0.0")
    assert "against ridge-mix" in last
    assert "interval +" in last
    plain = scores({"uniform": 0.0, "gaussian-process": 0.1})
    assert "interval" not in text_table(cells(plain), statistics(plain))
    assert text_table(cells(ROWS)).count("\n") == 6


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_tables_of_any_number_of_fractions_fit_eighty_columns(count):
    rows = [
        r | {"fraction": (i + 1) / 10, "method": m}
        for r in ROWS
        for i in range(count)
        for m in ("gaussian-process", "nearest-question")
    ]
    text = text_table(cells(rows))
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(f"{10 * (i + 1)}% of groups") == 1 for i in range(count))
    assert text.count("±") == 2 * count
    people = accuracy_table(cells(rows))
    assert max(map(len, people.splitlines())) <= 80
    assert people.count("±") == 2 * count


def test_report_shows_skills_and_comparisons():
    title = {"survey": "s", "embeddings": "e", "protocol": "paper", "context": 5}
    rows = ROWS + [r | {"curve": True} for r in ROWS]
    page = render_report(title, rows, statistics(rows))
    assert "ridge-mix (best baseline)" in page
    assert "over train-mean" in page
    assert page.count("<svg") == 2
    only = scores({"uniform": 0.0})
    assert "How sure" not in render_report(title, only, statistics(only))
