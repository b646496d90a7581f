"""The half of ``System`` that answers: what images show, task by task or for many tasks at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mu2net.core.path import Path
from mu2net.errors import ConfigError, ImageError
from mu2net.nn.backbone import Backbone
from mu2net.search.events import Observer, ignore
from mu2net.store.store import Store
from mu2net.system import arithmetic, inference, many
from mu2net.system.arithmetic import Change
from mu2net.system.classifier import Classifier, Edition, Judge, ServingPrecision
from mu2net.system.summary import Prediction
from mu2net.system.upkeep import Upkeep


class Answering(Upkeep):
    """Predictions with the live paths of a system.

    Args:
        store: Where the system lives.
        backbone: What its slots compute.
    """

    def __init__(self, store: Store, backbone: Backbone) -> None:
        super().__init__(store, backbone)
        self._networks = inference.NetworkCache(store, backbone)
        self._classifier: Classifier | None = None
        self._edition: Edition | None = None

    def close(self) -> None:
        """Let go of networks in memory."""
        self._networks.clear()
        self._classifier = self._edition = None

    def predict(self, name: str, images: Sequence[inference.ImageItem], *, top: int = 5) -> list[Prediction]:
        """Classify images with a task's live path.

        Args:
            name: The task.
            images: Paths of image files, PIL images, or uint8 arrays of shape ``[H, W, 3]`` or ``[H, W]``.
            top: How many classes to name per image.

        Raises:
            ConfigError: The task was never evolved, ``top`` is not positive, or ``images`` is a single image.
            ImageError: An image does not decode; names it.
            UnknownNameError: There is no such task.
        """
        return inference.predict(self._store, self._networks, self._live(name), images, top)

    def predict_many(
        self,
        names: Sequence[str],
        images: Sequence[inference.ImageItem],
        *,
        top: int = 5,
        on_bad_image: Callable[[ImageError], None] | None = None,
        observer: Observer = ignore,
    ) -> Iterator[Prediction]:
        """Classify images with the live paths of several tasks; what paths share is computed once.

        The best class is the one that ``predict`` gives, always; probabilities may differ from it by rounding.

        Args:
            names: Tasks, or patterns of names: ``["*"]`` for all that have a path.
            images: Paths of image files, PIL images, or uint8 arrays of shape ``[H, W, 3]`` or ``[H, W]``.
            top: How many classes to name per image.
            on_bad_image: Told about every image that does not decode, which is left out then; otherwise it is an error.
            observer: Told about progress.

        Yields:
            Image by image, for every task in the order in which the tasks were added.

        Raises:
            ConfigError: A task was never evolved, ``top`` is not positive, or ``images`` is a single image.
            ImageError: An image does not decode; names it.
            UnknownNameError: There is no such task.
        """
        if self._classifier is None:
            self._classifier = self.classifier()
        self._edition = self._classifier.edition(self._edition)
        known = [record.name for record in self._store.tasks()]
        chosen = many.choose_tasks(names, known, list(self._edition.tasks))
        return many.predict_many(self._classifier, self._edition, chosen, images, top, observer, on_bad_image)

    def classifier(
        self,
        *,
        precision: ServingPrecision | None = None,
        memory_limit: int | None = None,
        judge: Judge | None = None,
    ) -> Classifier:
        """Return what classifies images with all live paths at once, for programs that keep it.

        Args:
            precision: Arithmetic of all paths; ``None`` for that which each was trained with.
            memory_limit: Most bytes of parameters that are kept in memory; ``None`` for no limit.
            judge: Asked once for every path whether it may run in ``precision``; where not, it runs as it was trained.

        Raises:
            ConfigError: The network, or the device, cannot compute in ``precision``.
        """
        return Classifier(self._store, self._backbone, precision=precision, memory_limit=memory_limit, judge=judge)

    def precision_change(self, path: Path, precision: ServingPrecision, *, observer: Observer = ignore) -> Change:
        """Measure what another arithmetic changes about a path's answers, on the validation images of its task.

        Args:
            path: A live path.
            precision: The arithmetic.
            observer: Told about progress.
        """
        return arithmetic.measure_change(self._store, self._backbone, path, precision, observer)

    def _live(self, name: str) -> Path:
        path = self._store.live_path(name)
        if path is None:
            raise ConfigError(f"task {name!r} has no path yet; run: mu2net evolve {name}")
        return path
