"""Answers requests: which tasks are asked for, which edition answers, and what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mu2net.data.decode import decode_rgb
from mu2net.errors import ImageError, Mu2NetError, StoreError, UnknownNameError
from mu2net.serve.batching import Batcher, BusyError, ClosedError, ExpiredError, ImageLogits
from mu2net.serve.metrics import Metrics
from mu2net.serve.problems import ProblemError, later
from mu2net.serve.settings import Settings
from mu2net.serve.tokens import ALL, Principal
from mu2net.system.classifier import Classifier, Edition, LiveTask
from mu2net.system.many import softmax

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
        self._batcher: Batcher | None = None
        metrics.measure(
            waiting=lambda: self._batcher.waiting if self._batcher else 0,
            components=lambda: len(classifier.modules),
            component_bytes=lambda: classifier.modules.num_bytes,
            tasks=lambda: len(self.edition.tasks),
            version=lambda: self.edition.version,
        )

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered."""
        return self._batcher is not None

    def open(self) -> None:
        """Begin to answer."""
        self._batcher = Batcher(
            self._classifier,
            max_batch=self.settings.max_batch,
            max_wait=self.settings.max_wait,
            queue=self.settings.queue,
            observe=self.metrics.count_batch,
        )

    async def watch(self) -> None:
        """Take up new, updated and removed tasks, for ever."""
        while True:
            await asyncio.sleep(self.settings.watch)
            try:
                await self.refresh()
            except Mu2NetError as error:
                self.metrics.watch_errors.inc()
                _log.warning("the system cannot be read anew, its last state goes on to be served: %s", error)

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

    def close(self) -> bool:
        """Answer what waits, and take nothing more; return whether all was answered in time."""
        batcher, self._batcher = self._batcher, None
        return batcher is None or batcher.close(self.settings.drain)

    def visible(self, principal: Principal) -> list[LiveTask]:
        """Return the tasks that somebody may use, in the order in which they were added."""
        return [
            task for task in self.edition.tasks.values() if principal.may_use(task.name, is_private=task.is_private)
        ]

    def find(self, name: str, principal: Principal) -> LiveTask:
        """Return a task.

        Raises:
            ProblemError: There is none of the name that they may use: which of both is not told.
        """
        tasks = {task.name: task for task in self.visible(principal)}
        if name not in tasks:
            raise ProblemError(404, "unknown-task", str(UnknownNameError("task", name, tasks)), "task")
        return tasks[name]

    def choose(self, names: Sequence[str], principal: Principal) -> list[LiveTask]:
        """Return the tasks that a request names; ``*`` stands for all that are not private.

        Raises:
            ProblemError: None is named, or there is none of a name that they may use.
        """
        asked = [name.strip() for name in names if name.strip()]
        if not asked:
            raise ProblemError(422, "invalid-parameter", "no task is named; expected names, or * for all", "tasks")
        visible = {task.name: task for task in self.visible(principal)}
        for name in asked:
            if name != ALL and name not in visible:
                raise ProblemError(404, "unknown-task", str(UnknownNameError("task", name, visible)), "tasks")
        chosen = [task for task in visible.values() if task.name in asked or (ALL in asked and not task.is_private)]
        if not chosen:
            raise ProblemError(404, "unknown-task", "there is no task yet that you may use", "tasks")
        return chosen

    async def decode(self, images: Sequence[tuple[str, bytes]]) -> list[Image.Image]:
        """Decode the images of a request, in threads.

        Raises:
            ProblemError: One does not decode, or is too large.
        """

        def decode(index: int, name: str, data: bytes) -> Image.Image:
            try:
                return decode_rgb(data, f"'{name}'", max_pixels=self.settings.max_pixels)
            except ImageError as error:
                raise ProblemError(422, "bad-image", str(error), f"images.{index}") from error

        return [await asyncio.to_thread(decode, index, name, data) for index, (name, data) in enumerate(images)]

    async def answer(self, names: Sequence[str], principal: Principal, images: Sequence[tuple[str, bytes]]) -> Answer:
        """Classify the images of a request; all of it is answered by one edition.

        Args:
            names: Tasks, or ``*``.
            principal: Who asks.
            images: Names and bytes of image files.

        Raises:
            ProblemError: A task or an image is no good, the server has too much to do, or it stops.
        """
        tasks = self.choose(names, principal)
        decoded = await self.decode(images)
        for is_last in (False, True):
            edition = self.edition
            tasks = self.choose(names, principal)
            try:
                logits = await self._compute(edition, decoded, [task.name for task in tasks])
            except StoreError:
                # A task that was removed may be gone from the disk already; what is there now may answer.
                if is_last or await self.refresh() is edition:
                    raise
                continue
            return Answer(edition.version, tuple(tasks), tuple(name for name, _ in images), tuple(logits))
        raise AssertionError

    async def _compute(self, edition: Edition, images: list[Image.Image], names: list[str]) -> list[ImageLogits]:
        timeout = self.settings.timeout
        try:
            if self._batcher is None:
                raise ClosedError("the server is stopping; send the request to another one, or try again later")
            future = asyncio.wrap_future(self._batcher.submit(edition, images, names, timeout))
            return await asyncio.wait_for(future, timeout)
        except BusyError as error:
            raise later("busy", str(error), error.seconds) from error
        except ClosedError as error:
            raise ProblemError(503, "stopping", str(error), headers={"Retry-After": "5"}) from error
        except (TimeoutError, ExpiredError) as error:
            detail = f"no answer within {timeout:g} s; send fewer images, or try again later"
            raise ProblemError(504, "timeout", detail) from error
