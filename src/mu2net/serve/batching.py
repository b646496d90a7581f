"""Dynamic batching: images of different requests and tasks run through the network together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice, takewhile

import torch

from mu2net.errors import Mu2NetError
from mu2net.system.classifier import Classified, Classifier, Edition, LogitArray, Squeezable, content_of
from mu2net.train.compute import thread_count

ImageLogits = dict[str, LogitArray]
"""For every task, the logits of one image, shape ``[classes]``."""

_log = logging.getLogger("mu2net.serve")

_LAST_SECONDS = 5.0
"""How long the end waits for a batch that is being computed, in seconds."""


class BusyError(Mu2NetError):
    """More images wait than the queue holds.

    Args:
        waiting: How many images wait.
        seconds: After how many seconds it is worth to try again.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(f"{waiting} images wait already; try again in {seconds:.1f} s")
        self.seconds = seconds


class ClosedError(Mu2NetError):
    """The server is stopping."""


class ExpiredError(Mu2NetError):
    """A request waited for longer than it may."""


@dataclass(frozen=True)
class Batch:
    """What is told about a batch that ran.

    Args:
        images: How many images it had.
        requests: Of how many requests they were.
        seconds: How long the network took.
        classified: What was computed.
    """

    images: int
    requests: int
    seconds: float
    classified: Classified


@dataclass(eq=False)
class _Job:
    edition: Edition
    images: Sequence[Squeezable]
    tasks: tuple[str, ...]
    deadline: float
    future: Future[list[ImageLogits]] = field(default_factory=Future)
    answers: list[ImageLogits | None] = field(default_factory=list)


_Item = tuple[_Job, int]


class Batcher:
    """Runs a classifier in lanes, threads of its own, for requests of many threads.

    Every lane computes a batch by itself. Lanes that are free divide what waits, equal images staying together. A batch
    keeps to its end the processors that it began with: its share among the lanes that compute then.

    Args:
        classifier: What answers.
        max_batch: Most images that run together.
        max_wait: How long the first image of a batch waits for others, in seconds.
        queue: Most images that wait.
        lanes: How many batches are computed at a time.
        threads: How many threads all lanes together have for their operations.
        observe: Told about every batch, in its thread.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        max_batch: int,
        max_wait: float,
        queue: int,
        lanes: int = 1,
        threads: int = 1,
        observe: Callable[[Batch], None] | None = None,
    ) -> None:
        self._classifier, self._max_batch, self._max_wait, self._queue = classifier, max_batch, max_wait, queue
        self._observe = observe
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._pace = 0.0
        self._reserved = 0
        self._threads, self._free = threads, lanes
        self._lanes = [
            threading.Thread(target=self._run, name=f"mu2net-lane-{number}", daemon=True) for number in range(lanes)
        ]
        for lane in self._lanes:
            lane.start()

    @property
    def waiting(self) -> int:
        """How many images wait, or are on their way."""
        return len(self._items) + self._reserved

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Keep places in the queue for images that are being decoded; ``submit`` in this context takes them.

        Args:
            count: How many.

        Raises:
            BusyError: There are not as many.
            ClosedError: The server is stopping.
        """
        with self._changed:
            if self._is_closed:
                raise ClosedError("the server is stopping; send the request to another one, or try again later")
            if self.waiting + count > self._queue:
                self._items = deque(item for item in self._items if not item[0].future.done())
            if self.waiting + count > self._queue:
                raise BusyError(self.waiting, max(0.1, self._pace * self.waiting))
            self._reserved += count
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= count

    def submit(
        self, edition: Edition, images: Sequence[Squeezable], tasks: Sequence[str], timeout: float
    ) -> Future[list[ImageLogits]]:
        """Queue some images for some tasks, within ``places``; all of them are answered by one edition.

        Args:
            edition: The paths that answer.
            images: RGB images, or what was prepared of them; at least one.
            tasks: Names of tasks; at least one.
            timeout: How long they may wait, in seconds.

        Returns:
            For every image, the logits of every task; or the error of computing them.

        Raises:
            ClosedError: The server is stopping.
        """
        job = _Job(edition, images, tuple(tasks), time.monotonic() + timeout, answers=[None] * len(images))
        with self._changed:
            if self._is_closed:
                raise ClosedError("the server is stopping; send the request to another one, or try again later")
            self._items.extend((job, index) for index in range(len(images)))
            self._changed.notify_all()
        return job.future

    def close(self, timeout: float | None = None) -> bool:
        """Answer what waits, take nothing more, and return whether all was answered.

        What is being computed is finished in any case, if it takes no more than some seconds.

        Args:
            timeout: How long to wait for that, in seconds; what still waits then gets a ``ClosedError``.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._join(timeout)
        with self._changed:
            left, self._items = list(self._items), deque()
        for job, _ in left:
            _fail(job, ClosedError("the server stopped before it came to this request; try again"))
        # A thread that is within native code when the interpreter ends would abort the process.
        self._join(_LAST_SECONDS)
        return not left and not any(lane.is_alive() for lane in self._lanes)

    def _join(self, timeout: float | None) -> None:
        """Wait for all lanes, no longer than ``timeout`` seconds together."""
        end = None if timeout is None else time.monotonic() + timeout
        for lane in self._lanes:
            lane.join(None if end is None else max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # what every batch puts back, for threads that begin later
        while (taken := self._take()) is not None:
            items, threads = taken
            try:
                with thread_count(threads):
                    self._answer(items)
            finally:
                with self._changed:
                    self._free += 1

    def _take(self) -> tuple[list[_Item], int] | None:
        """Wait for a batch; return it, maybe empty, and how many threads it may use, or ``None`` at the end."""
        with self._changed:
            while not self._items:
                if self._is_closed:
                    return None
                self._changed.wait()
            end = time.monotonic() + self._max_wait
            while len(self._items) < self._max_batch and not self._is_closed:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            taken = self._share()
            self._free -= 1
            computing = len(self._lanes) - self._free + min(self._free, len(self._items))
        now = time.monotonic()
        for job in {id(job): job for job, _ in taken}.values():
            if job.deadline < now:
                _fail(job, ExpiredError("the request waited for too long; the server has more to do than it can"))
        return [(job, index) for job, index in taken if not job.future.done()], -(-self._threads // computing)

    def _share(self) -> list[_Item]:
        """Take this lane's share of what waits: as many different images, each for all who sent it, up to a batch.

        It is empty where other lanes took all of it, or the end came without patience.
        """
        here = list(takewhile(lambda item: item[0].edition is self._items[0][0].edition, self._items))
        same: dict[object, list[_Item]] = {}
        for job, index in here:
            same.setdefault(content_of(job.images[index]) or (id(job), index), []).append((job, index))
        share = islice(same.values(), -(-len(same) // self._free))
        taken = [item for items in share for item in items][: self._max_batch]
        chosen = set(taken)
        self._items = deque(item for item in self._items if item not in chosen)
        return taken

    def _answer(self, items: list[_Item]) -> None:
        if not items:
            return
        started = time.monotonic()
        jobs = list({id(job): job for job, _ in items}.values())
        try:
            classified = self._classify(items)
        except Exception as error:  # whatever it is, it belongs to the requests and must not end the thread
            if len(jobs) == 1:
                _fail(jobs[0], error)
            for job in jobs if len(jobs) > 1 else []:
                self._answer([item for item in items if item[0] is job])  # one of them is to blame
            return
        seconds = time.monotonic() - started
        self._pace = seconds / len(items) / len(self._lanes)
        if self._observe is not None:
            try:
                self._observe(Batch(len(items), len(jobs), seconds, classified))
            except Exception:  # all have their answers, and the lane must go on
                _log.exception("a batch could not be counted")

    def _classify(self, items: list[_Item]) -> Classified:
        wanted: dict[str, list[int]] = {}
        for row, (job, _) in enumerate(items):
            for task in job.tasks:
                wanted.setdefault(task, []).append(row)
        images = [job.images[index] for job, index in items]
        classified = self._classifier.classify(items[0][0].edition, images, wanted)
        places = {task: {row: place for place, row in enumerate(rows)} for task, rows in wanted.items()}
        for row, (job, index) in enumerate(items):
            job.answers[index] = {task: classified.logits[task][places[task][row]] for task in job.tasks}
        for job in {id(job): job for job, _ in items}.values():
            answers = [answer for answer in job.answers if answer is not None]
            if len(answers) == len(job.images):
                with suppress(InvalidStateError):  # nobody waits any more
                    job.future.set_result(answers)
        return classified


def _fail(job: _Job, error: BaseException) -> None:
    with suppress(InvalidStateError):  # nobody waits any more, or it failed already
        job.future.set_exception(error)
