"""How often something may happen."""

import threading

from gpo_ray.serving import pace


def test_a_caller_may_ask_so_often_in_any_minute(monkeypatch):
    now, threads = 1000.0, threading.active_count()
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    limit = pace.RateLimit(4)
    assert [limit.wait("a"), limit.wait("a", 2), limit.wait("b", 9)] == [0, 0, 0]
    now += 30
    assert [limit.wait("a"), limit.wait("a"), limit.wait("a", 2), limit.wait("b")] == [0, 30, 30, 30]
    now += 30
    assert [limit.wait("a", 3), limit.wait("a"), limit.wait("b")] == [0, 30, 0]
    assert threading.active_count() == threads  # none for each request


def test_a_limit_forgets_callers_that_were_away_for_longest(monkeypatch):
    monkeypatch.setattr(pace, "_CALLERS", 2)
    limit = pace.RateLimit(1)
    assert [limit.wait(who) > 0 for who in "aabbac"] == [False, True, False, True, True, False]
    assert [limit.wait("a") > 0, limit.wait("b") > 0] == [True, False]


def test_a_pace_is_kept(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    taken = pace.Pace(2, 3)
    assert [taken.take() for _ in range(4)] == [True, True, True, False]
    now[0] += 1
    assert [taken.take(2), taken.take()] == [True, False]
    now[0] += 100
    assert not taken.take(4)
    assert taken.take(3)
