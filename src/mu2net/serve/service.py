"""Answers requests: which tasks are asked for, which edition answers, and what it says."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mu2net.data.decode import decode_rgb
from mu2net.errors import ImageError, Mu2NetError, StoreError, UnknownNameError
from mu2net.report.gather import gather
from mu2net.report.page import render
from mu2net.serve.batching import Batcher, BusyError, ClosedError, ExpiredError, ImageLogits
from mu2net.serve.metrics import Metrics
from mu2net.serve.problems import ProblemError, later
from mu2net.serve.settings import Settings
from mu2net.serve.tokens import ALL, Principal
from mu2net.serve.uploads import MAX_NAMES, Budget
from mu2net.system.classifier import Classifier, Edition, LiveTask, Prepared
from mu2net.system.many import softmax

LONGEST_NAME = 100
"""Most characters of a name that are repeated in a message."""

_log = logging.getLogger("mu2net.serve")


@dataclass(frozen=True)
class Answer:
    """What an edition says about some images.

    Args:
        version: Version of the system that answered.
        tasks: The tasks that were asked, in the order in which they were added.
        images: Names of the images.
        logits: For every image, the logits of every task.
    """

    version: int
    tasks: tuple[LiveTask, ...]
    images: tuple[str, ...]
    logits: tuple[ImageLogits, ...]

    def best(self, image: int, task: LiveTask, top_k: int) -> list[tuple[str, float]]:
        """Return the most probable classes of an image with their probabilities, best first.

        Args:
            image: Its index.
            task: One of the tasks.
            top_k: How many.
        """
        probabilities = softmax(self.logits[image][task.name][None])[0]
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [(task.classes[index], float(probabilities[index])) for index in order]


class Service:
    """A classifier for many clients.

    Args:
        classifier: What answers.
        settings: Limits and times.
        metrics: What is counted.
    """

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics) -> None:
        self._classifier, self.settings, self.metrics = classifier, settings, metrics
        self.edition = classifier.edition()
        self.is_stopping = False
        self.budget = Budget(settings.max_bodies)
        self._decoders: ThreadPoolExecutor | None = None
        self._batcher: Batcher | None = None
        self._page: tuple[int, str] | None = None
        self._drawing = asyncio.Lock()
        metrics.measure(
            waiting=lambda: self._batcher.waiting if self._batcher else 0,
            components=lambda: len(classifier.modules),
            component_bytes=lambda: classifier.modules.num_bytes,
            tasks=lambda: sum(not task.is_private for task in self.edition.tasks.values()),
            version=lambda: self.edition.version,
        )

    @property
    def is_ready(self) -> bool:
        """Whether requests are welcome."""
        return self._batcher is not None and not self.is_stopping

    def open(self) -> None:
        """Begin to answer."""
        self.is_stopping = False
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, "mu2net-decode")
        self._batcher = Batcher(
            self._classifier,
            max_batch=self.settings.max_batch,
            max_wait=self.settings.max_wait,
            queue=self.settings.queue,
            lanes=self._classifier.lanes,
            threads=self._classifier.threads,
            observe=self.metrics.count_batch,
        )

    def stop(self) -> None:
        """Take no new requests; those that were accepted are answered for as long as ``drain`` says."""
        self.is_stopping = True

        def give_up() -> None:
            if (batcher := self._batcher) is not None:
                batcher.close(0.0)

        timer = threading.Timer(self.settings.drain, give_up)
        timer.daemon = True
        timer.start()

    async def watch(self) -> None:
        """Take up new, updated and removed tasks, for ever, whatever happens."""
        while True:
            await asyncio.sleep(self.settings.watch)
            try:
                await self.refresh()
            except Exception as error:
                self.metrics.watch_errors.inc()
                is_known = isinstance(error, Mu2NetError)
                _log.warning(
                    "the system cannot be read anew, its last state goes on to be served: %s",
                    error,
                    exc_info=None if is_known else error,
                )

    async def refresh(self) -> Edition:
        """Take up what happened to the system since; return the edition of now.

        Raises:
            StoreError: It cannot be read; the edition of before stays.
        """
        before = self.edition
        found = await asyncio.to_thread(self._classifier.edition, before)
        if found.version > self.edition.version:
            self.edition = found
            new, old = set(found.tasks), set(before.tasks)
            _log.info(
                "serving version %d: %d tasks (+%d, -%d)", found.version, len(new), len(new - old), len(old - new)
            )
        return self.edition

    async def page(self) -> tuple[int, str]:
        """Return the page of the public tasks as they are now, and the version of the system that it shows."""
        version = self.edition.version
        if self._page is None or self._page[0] != version:
            async with self._drawing:
                if self._page is None or self._page[0] != version:
                    self._page = version, await asyncio.to_thread(self._draw)
        return self._page

    def _draw(self) -> str:
        return render(gather(self._classifier.store, with_private=False))

    def close(self) -> bool:
        """Answer what waits, and take nothing more; return whether all was answered."""
        batcher, self._batcher = self._batcher, None
        is_done = batcher is None or batcher.close(0.0 if self.is_stopping else self.settings.drain)
        if self._decoders is not None:
            self._decoders.shutdown(wait=False, cancel_futures=True)
        return is_done

    def visible(self, principal: Principal, edition: Edition | None = None) -> list[LiveTask]:
        """Return the tasks of an edition that somebody may use, in the order in which they were added."""
        tasks = (edition or self.edition).tasks.values()
        return [task for task in tasks if principal.may_use(task.name, is_private=task.is_private)]

    def find(self, name: str, principal: Principal) -> LiveTask:
        """Return a task.

        Raises:
            ProblemError: There is none of the name that they may use: which of both is not told.
        """
        tasks = {task.name: task for task in self.visible(principal)}
        if name not in tasks:
            raise _unknown(name, tasks, "task")
        return tasks[name]

    def choose(self, names: Sequence[str], principal: Principal, edition: Edition | None = None) -> list[LiveTask]:
        """Return the tasks that a request names; ``*`` stands for all that are not private.

        Raises:
            ProblemError: None is named, too many are, or there is none of a name that they may use.
        """
        if len(names) > MAX_NAMES:
            detail = f"{len(names)} tasks are named; expected at most {MAX_NAMES}, or * for all"
            raise ProblemError(422, "invalid-parameter", detail, "tasks")
        asked = {name.strip() for name in names} - {""}
        if not asked:
            raise ProblemError(422, "invalid-parameter", "no task is named; expected names, or * for all", "tasks")
        visible = {task.name: task for task in self.visible(principal, edition)}
        for name in sorted(asked - {ALL} - visible.keys()):
            raise _unknown(name, visible, "tasks")
        chosen = [task for task in visible.values() if task.name in asked or (ALL in asked and not task.is_private)]
        if not chosen:
            raise ProblemError(404, "unknown-task", "there is no task yet that you may use", "tasks")
        return chosen

    async def answer(self, names: Sequence[str], principal: Principal, images: Sequence[tuple[str, bytes]]) -> Answer:
        """Classify the images of a request; all of it is answered by one edition.

        Args:
            names: Tasks, or ``*``.
            principal: Who asks.
            images: Names and bytes of image files.

        Raises:
            ProblemError: A task or an image is no good, the server has too much to do, or it stops.
        """
        edition = self.edition
        try:
            return await self._answer(edition, names, principal, images)
        except StoreError:
            # A task that was removed may be gone from the disk already; what is there now may answer.
            later_edition = await self.refresh()
            if later_edition is edition:
                raise
            return await self._answer(later_edition, names, principal, images)

    async def _answer(
        self, edition: Edition, names: Sequence[str], principal: Principal, images: Sequence[tuple[str, bytes]]
    ) -> Answer:
        tasks = self.choose(names, principal, edition)
        batcher = self._batcher
        try:
            if batcher is None:
                raise ClosedError("the server is stopping; send the request to another one, or try again later")
            with batcher.places(len(images)):
                prepared = await self._prepare(images, {task.side for task in tasks}, principal)
                asked = batcher.submit(edition, prepared, [task.name for task in tasks], self.settings.timeout)
            logits = await asyncio.wrap_future(asked)
        except BusyError as error:
            raise later("busy", str(error), error.seconds) from error
        except ClosedError as error:
            raise ProblemError(503, "stopping", str(error), headers={"Retry-After": "5"}) from error
        except ExpiredError as error:
            raise TimeoutError from error
        return Answer(edition.version, tuple(tasks), tuple(name for name, _ in images), tuple(logits))

    async def _prepare(
        self, images: Sequence[tuple[str, bytes]], sides: set[int], principal: Principal
    ) -> list[Prepared]:
        """Decode images in threads, and keep what the networks need of them.

        There is a thread for every processor, and no more: who leaves while an image is decoded does not make room for
        another one, because the thread goes on to its end. Images of different tokens are never held to be equal: how
        long an answer takes must not tell what others sent.
        """
        owner = (principal.name or "").encode()

        def prepare(index: int, name: str, data: bytes) -> Prepared:
            try:
                image = decode_rgb(data, f"'{name}'", max_pixels=self.settings.max_pixels)
            except ImageError as error:
                raise ProblemError(422, "bad-image", str(error), f"images.{index}") from error
            return Prepared(image, sides, hashlib.sha256(data).digest() + owner)

        found = []
        for index, (name, data) in enumerate(images):
            found.append(await asyncio.get_running_loop().run_in_executor(self._decoders, prepare, index, name, data))
        return found


def _unknown(name: str, known: Iterable[str], field: str) -> ProblemError:
    shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
    return ProblemError(404, "unknown-task", str(UnknownNameError("task", shown, known)), field)
