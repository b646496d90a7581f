import pytest

from mu2net.serve import rate
from mu2net.serve.rate import RateLimit


def test_a_bucket_is_emptied_and_filled_again():
    now = [0.0]
    limit = RateLimit(2.0, 3, lambda: now[0])
    assert [limit.wait("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.wait("b") == 0.0, "everybody has their own"
    now[0] = 0.25
    assert limit.wait("a") == pytest.approx(0.25)
    now[0] = 0.5
    assert limit.wait("a") == 0.0
    now[0] = 1000.0
    assert [limit.wait("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5], "never more than a burst"


def test_no_limit():
    limit = RateLimit(0.0, 1)
    assert [limit.wait("a") for _ in range(100)] == [0.0] * 100


def test_clients_that_were_not_seen_for_long_are_forgotten(monkeypatch):
    monkeypatch.setattr(rate, "_MOST_CLIENTS", 2)
    limit = RateLimit(1.0, 1, lambda: 0.0)
    assert [limit.wait(name) for name in "abc"] == [0.0] * 3
    assert limit.wait("c") == 1.0
    assert limit.wait("a") == 0.0
