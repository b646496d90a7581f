"""What the tests of several floors share: small pictures, and a folder of their own for doctests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process per core, of one thread each, as in evolution: threads of several processes only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts programs in the background so; tests of interrupts need what a terminal gives.
    signal.signal(signal.SIGINT, signal.default_int_handler)

COLORS = {"blue": (100, 100, 160), "green": (100, 160, 100), "red": (160, 100, 100)}


def write_pictures(
    folder: Path,
    *,
    seed: int = 0,
    colors: Mapping[str, tuple[int, int, int]] = COLORS,
    counts: tuple[int, int, int] = (16, 8, 8),
    side: int = 8,
) -> Path:
    """Write noisy pictures of a color per class: some are hard to tell apart, so accuracies differ.

    Args:
        folder: Gets ``train``, ``val`` and ``test``, each with a folder per class.
        seed: Seed of the noise.
        colors: Mean color by class.
        counts: Pictures of a class in train, validation and test.
        side: Side of a picture, in pixels.
    """
    rng = np.random.default_rng(seed)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for name, color in colors.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(color, 70, (side, side, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what some tests do more of where there is time."""
    parser.addoption(
        "--exhaustive", action="store_true", help="also what takes long: thorough tests, and failures at every step"
    )
    parser.addoption(
        "--keep-pictures", action="store_true", help="keep what pages look like now, as what they should look like"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless it is asked for."""
    if not config.getoption("exhaustive"):
        slow = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Path]:
    """Writes the pictures of a task into a folder."""
    return write_pictures


@pytest.fixture(autouse=True)
def _doctests_run_in_a_folder_of_their_own(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
