"""Which images run together, and what becomes of those that cannot."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch
from PIL import Image

from mu2net.serve import batching
from mu2net.serve.batching import Batcher, BusyError, ClosedError, ExpiredError
from mu2net.system.classifier import Classified, Prepared


class Fake:
    """Answers with the image itself, which is a number here; waits while ``gate`` is closed."""

    def __init__(self):
        self.batches, self.gate, self.entered = [], threading.Event(), threading.Event()
        self.gate.set()

    def classify(self, edition, images, wanted):
        self.entered.set()
        assert self.gate.wait(20)
        self.batches.append((edition, list(images), {task: list(rows) for task, rows in wanted.items()}))
        if -1 in images:
            raise ZeroDivisionError("a bad image")
        logits = {
            task: np.array([[images[row], len(task)] for row in rows], np.float32) for task, rows in wanted.items()
        }
        return Classified(logits, 10 * len(images), 4 * len(images), 0)


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def make(fake):
    made = []

    def make(**options):
        made.append(Batcher(fake, **{"max_batch": 8, "max_wait": 0.0, "queue": 100, **options}))
        return made[-1]

    yield make
    fake.gate.set()
    for batcher in made:
        batcher.close(20)


def plain(answers):
    return [{task: logits.tolist() for task, logits in answer.items()} for answer in answers]


def held(fake, batcher):
    """Let the network be busy, so that what comes next waits."""
    fake.gate.clear()
    future = batcher.submit("e", [0], ["a"], 20)
    assert fake.entered.wait(20)
    return future


def test_one_request(fake, make):
    seen = []
    future = make(observe=seen.append).submit("e", [5, 6], ["a", "bb"], 20)
    assert plain(future.result(20)) == [{"a": [5, 1], "bb": [5, 2]}, {"a": [6, 1], "bb": [6, 2]}]
    assert fake.batches == [("e", [5, 6], {"a": [0, 1], "bb": [0, 1]})]
    time.sleep(0.05)
    assert [(batch.images, batch.requests, batch.classified.computed) for batch in seen] == [(2, 1, 8)]
    assert seen[0].seconds >= 0


def test_requests_that_wait_run_together(fake, make):
    batcher = make()
    first = held(fake, batcher)
    others = [batcher.submit("e", [n], ["a"] if n % 2 else ["b"], 20) for n in (1, 2, 3)]
    assert batcher.waiting == 3
    fake.gate.set()
    wait([first, *others], 20)
    assert fake.batches[1] == ("e", [1, 2, 3], {"a": [0, 2], "b": [1]})
    assert [plain(future.result()) for future in others] == [[{"a": [1, 1]}], [{"b": [2, 1]}], [{"a": [3, 1]}]]


def test_a_batch_waits_for_others_but_not_for_ever(fake, make):
    batcher = make(max_wait=5.0, max_batch=2)
    futures = [batcher.submit("e", [n], ["a"], 20) for n in (1, 2)]
    started = time.monotonic()
    wait(futures, 20)
    assert time.monotonic() - started < 4, "it is full"
    assert [images for _, images, _ in fake.batches] == [[1, 2]]
    assert plain(make(max_wait=0.01).submit("e", [3], ["a"], 20).result(20)) == [{"a": [3, 1]}]


def test_a_large_request_is_divided_and_answered_whole(fake, make):
    batcher = make(max_batch=4)
    first = held(fake, batcher)
    large, small = batcher.submit("e", list(range(10)), ["a"], 20), batcher.submit("e", [77], ["b"], 20)
    fake.gate.set()
    wait([first, large, small], 20)
    assert [len(images) for _, images, _ in fake.batches] == [1, 4, 4, 3]
    assert [answer["a"].tolist() for answer in large.result()] == [[n, 1] for n in range(10)]
    assert plain(small.result()) == [{"b": [77, 1]}]


def test_editions_never_mix(fake, make):
    batcher = make()
    first = held(fake, batcher)
    editions = ["old", "old", "new", "new", "old"]
    futures = [batcher.submit(edition, [n], ["a"], 20) for n, edition in enumerate(editions)]
    fake.gate.set()
    wait([first, *futures], 20)
    assert [(edition, images) for edition, images, _ in fake.batches[1:]] == [
        ("old", [0, 1]),
        ("new", [2, 3]),
        ("old", [4]),
    ]


def test_an_error_is_that_of_its_request_alone(fake, make):
    batcher = make()
    first = held(fake, batcher)
    futures = [batcher.submit("e", [n], ["a"], 20) for n in (1, -1, 3)]
    fake.gate.set()
    wait([first, *futures], 20)
    assert [plain(futures[n].result()) for n in (0, 2)] == [[{"a": [1, 1]}], [{"a": [3, 1]}]]
    with pytest.raises(ZeroDivisionError, match="a bad image"):
        futures[1].result()
    assert plain(batcher.submit("e", [4], ["a"], 20).result(20)) == [{"a": [4, 1]}], "it goes on"


def test_a_full_queue_says_when_to_come_again(fake, make):
    batcher = make(queue=3)
    first = held(fake, batcher)
    second = batcher.submit("e", [1, 2], ["a"], 20)
    with pytest.raises(BusyError, match="2 images wait already; try again in") as raised, batcher.places(2):
        pass
    assert raised.value.seconds >= 0.1
    with batcher.places(1):
        assert batcher.waiting == 3
        with pytest.raises(BusyError), batcher.places(1):
            pass
        third = batcher.submit("e", [5], ["a"], 20)
    assert batcher.waiting == 3
    fake.gate.set()
    wait([first, second, third], 20)
    assert [images for _, images, _ in fake.batches] == [[0], [1, 2, 5]]


def test_what_nobody_waits_for_makes_room(fake, make):
    batcher = make(queue=2)
    first = held(fake, batcher)
    gone = batcher.submit("e", [1, 2], ["a"], 20)
    with pytest.raises(BusyError), batcher.places(1):
        pass
    gone.cancel()
    with batcher.places(2):
        second = batcher.submit("e", [3, 4], ["a"], 20)
    fake.gate.set()
    wait([first, second], 20)
    assert [images for _, images, _ in fake.batches] == [[0], [3, 4]]


def test_what_waited_too_long_is_not_computed(fake, make):
    batcher = make()
    first = held(fake, batcher)
    late, patient = batcher.submit("e", [1], ["a"], 0.01), batcher.submit("e", [2], ["a"], 20)
    time.sleep(0.05)
    fake.gate.set()
    wait([first, late, patient], 20)
    with pytest.raises(ExpiredError, match="waited for too long"):
        late.result()
    assert fake.batches[1][1] == [2]


def test_what_nobody_waits_for_is_not_computed(fake, make):
    batcher = make()
    first = held(fake, batcher)
    gone, there = batcher.submit("e", [1], ["a"], 20), batcher.submit("e", [2], ["a"], 20)
    assert gone.cancel()
    fake.gate.set()
    wait([first, there], 20)
    assert fake.batches[1][1] == [2]


def test_one_that_leaves_while_it_is_computed_disturbs_nobody(fake, make):
    batcher = make()
    held(fake, batcher).cancel()
    other = batcher.submit("e", [1], ["a"], 20)
    fake.gate.set()
    assert plain(other.result(20)) == [{"a": [1, 1]}]


def test_the_end_answers_what_waits(fake, make):
    batcher = make(max_wait=5.0)
    first = held(fake, batcher)
    waiting = [batcher.submit("e", [n], ["a"], 20) for n in range(12)]
    threading.Timer(0.05, fake.gate.set).start()
    assert batcher.close(20)
    assert all(future.done() and future.exception() is None for future in [first, *waiting])
    with pytest.raises(ClosedError, match="the server is stopping"):
        batcher.submit("e", [1], ["a"], 20)
    with pytest.raises(ClosedError, match="the server is stopping"), batcher.places(1):
        pass


def test_an_end_without_patience_fails_what_waits(fake, make):
    batcher = make()
    first = held(fake, batcher)
    waiting = batcher.submit("e", [1], ["a"], 20)
    threading.Timer(0.4, fake.gate.set).start()
    assert not batcher.close(0.05)
    with pytest.raises(ClosedError, match="before it came to this request"):
        waiting.result(0)
    assert first.done(), "what is being computed is finished: a process must not end within it"
    assert plain(first.result(0)) == [{"a": [0, 1]}]


def test_the_end_does_not_wait_for_ever(fake, make, monkeypatch):
    monkeypatch.setattr(batching, "_LAST_SECONDS", 0.1)
    batcher = make()
    first = held(fake, batcher)
    assert not batcher.close(0.0)
    assert not first.done()


class Gates(Fake):
    """Lets every batch wait for itself, and tells how many threads it had."""

    def __init__(self):
        super().__init__()
        self.threads, self.arrived = [], threading.Semaphore(0)

    def classify(self, edition, images, wanted):
        self.threads.append((len(images), torch.get_num_threads()))
        self.arrived.release()
        return super().classify(edition, images, wanted)


def arrive(gates, count):
    for _ in range(count):
        assert gates.arrived.acquire(timeout=20)


@pytest.fixture
def gates():
    gates = Gates()
    gates.gate.clear()
    return gates


@pytest.fixture
def lanes(gates):
    made = Batcher(gates, max_batch=8, max_wait=0.05, queue=100, lanes=2, threads=4)
    yield made
    gates.gate.set()
    assert made.close(20)


def test_lanes_that_are_free_divide_what_waits(gates, lanes):
    future = lanes.submit("e", [1, 2, 3, 4, 5], ["a"], 20)
    arrive(gates, 2)
    assert sorted(gates.threads) == [(2, 2), (3, 2)], "and the processors"
    gates.gate.set()
    assert plain(future.result(20)) == [{"a": [number, 1]} for number in (1, 2, 3, 4, 5)]


def test_who_is_alone_has_all_processors(gates, lanes):
    first = lanes.submit("e", [1], ["a"], 20)
    arrive(gates, 1)
    second = lanes.submit("e", [2], ["a"], 20)
    arrive(gates, 1)
    assert gates.threads == [(1, 4), (1, 2)]
    third = lanes.submit("e", [3, 4, 5], ["a"], 20)
    gates.gate.set()
    wait([first, second, third], 20)
    assert sum(count for count, _ in gates.threads) == 5


def test_threads_that_begin_later_have_the_number_of_the_process(gates, lanes):
    gates.gate.set()
    for number in range(6):
        wait([lanes.submit("e", [number, number], ["a"], 20), lanes.submit("e", [number], ["a"], 20)], 20)
    assert lanes.close(20)
    assert {threads for _, threads in gates.threads} >= {2}
    with ThreadPoolExecutor(1) as fresh:
        found = fresh.submit(torch.get_num_threads).result()
    torch.set_num_threads(torch.get_num_threads())  # for the threads of other tests
    assert found == 4


def test_an_error_in_a_lane_leaves_the_other_alone(gates, lanes):
    bad, good = lanes.submit("e", [-1], ["a"], 20), lanes.submit("e", [2], ["a"], 20)
    arrive(gates, 2)
    gates.gate.set()
    assert plain(good.result(20)) == [{"a": [2, 1]}]
    with pytest.raises(ZeroDivisionError):
        bad.result(20)
    both = [lanes.submit("e", [number, number], ["a"], 20) for number in range(4)]
    assert [plain(future.result(20)) for future in both] == [[{"a": [n, 1]}] * 2 for n in range(4)]


def test_the_end_waits_for_all_lanes(gates, lanes):
    future = lanes.submit("e", [1, 2], ["a"], 20)
    arrive(gates, 2)
    waiting = lanes.submit("e", [3], ["a"], 20)
    threading.Timer(0.3, gates.gate.set).start()
    assert lanes.close(20)
    assert plain(future.result(0)) == [{"a": [1, 1]}, {"a": [2, 1]}]
    assert plain(waiting.result(0)) == [{"a": [3, 1]}]


def test_equal_images_run_together_whoever_sent_them(fake):
    """One lane computes their trunk, although two are free."""
    picture, other = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    sent = [(picture, b"red"), (other, b"blue"), (picture, b"red"), (picture, b"red")]
    images, seen = [Prepared(image, {8}, content) for image, content in sent], []
    fake.classify = lambda edition, found, wanted: (
        seen.append(list(found))
        or Classified({task: np.zeros((len(rows), 2), np.float32) for task, rows in wanted.items()}, 0, 0, 0)
    )
    batcher = Batcher(fake, max_batch=4, max_wait=2.0, queue=100, lanes=2, threads=2)
    futures = [batcher.submit("e", [image], [task], 20) for image, task in zip(images, "abcd", strict=True)]
    wait(futures, 20)
    assert batcher.close(20)
    assert {tuple(map(images.index, found)) for found in seen} == {(0, 2, 3), (1,)}


def test_equal_images_fill_a_batch_too(fake, make):
    picture = Image.new("RGB", (8, 8))
    sizes = []
    fake.classify = lambda edition, found, wanted: (
        sizes.append(len(found))
        or Classified({task: np.zeros((len(rows), 2), np.float32) for task, rows in wanted.items()}, 0, 0, 0)
    )
    batcher = make(max_batch=4, max_wait=0.5)
    wait([batcher.submit("e", [Prepared(picture, {8}, b"same")], ["a"], 20) for _ in range(10)], 20)
    assert sum(sizes) == 10
    assert max(sizes) <= 4


def test_what_cannot_be_counted_is_answered(fake, make, caplog):
    def observe(batch):
        raise ZeroDivisionError

    batcher = make(observe=observe)
    for number in (1, 2):
        assert plain(batcher.submit("e", [number], ["a"], 20).result(20)) == [{"a": [number, 1]}]
    assert batcher.close(20)
    assert [record.message for record in caplog.records] == ["a batch could not be counted"] * 2
