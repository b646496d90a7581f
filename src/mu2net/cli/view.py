"""Shows long work while it runs: a moving panel on a terminal, plain lines with times elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from mu2net.cli.output import percent, plain, quantity, say

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from mu2net.cli.progress import Progress
    from mu2net.core.path import Path

STOP_MESSAGE = "finishing this interval, then publishing; press again to stop at once"
"""What the first Ctrl-C answers."""

STOP_NOW_MESSAGE = "stopping at once; what is recorded is safe"
"""What the second Ctrl-C answers."""


PANEL_COLUMNS = 100
"""Columns of the panel at most."""

ECHO_COLUMNS = 6
"""Columns kept free on the right: terminals echo ``^C`` there, and a wrapped line would leave a ghost of the panel."""


BARS = "▁▂▃▄▅▆▇█"
"""Heights of a bar of a sparkline."""

MOST_BARS = 40
"""Bars of a sparkline; of longer curves the end is drawn."""

MOST_CURVES = 8
"""Children whose curves are drawn."""


class View(Protocol):
    """An observer that shows what it is told."""

    @property
    def is_stop_requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        ...

    def __call__(self, event: object) -> None:
        """Show an event."""
        ...


class _BaseView:
    """What the views have in common.

    Args:
        console: Where to show it.
        progress: The state.
    """

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._stop_message = ""

    @property
    def is_stop_requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return bool(self._stop_message)

    def _note_stop(self, event: object) -> bool:
        """Return whether the event is a press of Ctrl-C, and remember what to answer.

        The event comes from inside a signal handler, where printing could meet itself half-way.
        """
        from mu2net.search.events import StopRequested

        if not isinstance(event, StopRequested):
            return False
        self._stop_message = STOP_MESSAGE if event.request == "interval" else STOP_NOW_MESSAGE
        return True


class PlainView(_BaseView):
    """Prints a line with the time of day per phase and per finished child.

    Args:
        console: Where to print.
        progress: The state.
        now: Tells the time of day.
    """

    def __init__(self, console: Console, progress: Progress, now: Callable[[], datetime] = datetime.now) -> None:
        super().__init__(console, progress)
        self._now = now
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""

    def __call__(self, event: object) -> None:
        """Print what an event is worth."""
        if self._note_stop(event):
            return
        if self._stop_message != self._said:
            self._said = self._stop_message
            self._print(self._said)
        for line in self._progress.update(event):
            self._print(line.text)

    def _print(self, text: str) -> None:
        say(self._console, f"{self._now():%H:%M:%S} {self._progress.task}: {text}")


class LiveView(_BaseView):
    """Draws a panel that moves several times a second, also while no event comes; results stay above it.

    Args:
        console: A terminal.
        progress: The state.
    """

    def __init__(self, console: Console, progress: Progress) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        super().__init__(console, progress)
        self._spinner = Spinner("dots")
        self._live = Live(self, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the panel away."""
        self._live.stop()

    def __call__(self, event: object) -> None:
        """Move the panel on, and keep results in sight above it."""
        if self._note_stop(event):
            return
        for line in self._progress.update(event):
            if line.weight == "result":
                say(self._console, f"{self._progress.task}: {line.text}")

    def __rich__(self) -> RenderableType:
        """Return the panel as it looks now."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        progress = self._progress
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(width=1)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        fraction = progress.fraction()
        if fraction is None:
            bar.add_row(self._spinner, ProgressBar(pulse=True), "")
        else:
            figures = f"{100 * fraction:3.0f} %  {progress.left()}".rstrip()
            bar.add_row(self._spinner, ProgressBar(total=1.0, completed=fraction), plain(figures))
        lines: list[RenderableType] = [plain(progress.doing())]
        if progress.cycle:
            accuracies = f"validation accuracy: now {percent(progress.current)}, best {percent(progress.best)}"
            lines.append(plain(accuracies))
            lines += [plain(line) for line in curve_lines(progress.curves)]
            if progress.best_path is not None:
                lines.append(slot_row(progress.best_path))
            if progress.pace is not None:
                lines.append(plain(f"a child trains on {quantity(progress.pace)} images per second", "dim"))
        lines.append(bar)
        if self._stop_message:
            lines.append(plain(self._stop_message, "bold yellow"))
        width = max(min(self._console.width - ECHO_COLUMNS, PANEL_COLUMNS), 20)
        title = plain(self._title())
        return Panel(Group(*lines), title=title, title_align="left", border_style="cyan", width=width)

    def _title(self) -> str:
        cycle = self._progress.cycle
        return f"{self._progress.task} · cycle {cycle.number} · {cycle.agent}" if cycle else self._progress.task


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Return values as a row of eight heights.

    Args:
        values: What to draw.
        low: What the lowest bar stands for.
        high: What the highest bar stands for.
    """
    span = high - low
    return "".join(BARS[round((len(BARS) - 1) * (value - low) / span) if span > 0 else 0] for value in values)


def curve_lines(curves: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a line for every child in training: its validations so far, all on one scale.

    Args:
        curves: Validation accuracies by child, in [0, 1].
    """
    drawn = [(child, list(curve)) for child, curve in list(curves.items())]  # the panel is drawn while events come
    values = [value for _, curve in drawn for value in curve]
    return [
        f"  child {child} {sparkline(curve[-MOST_BARS:], min(values), max(values))} {percent(curve[-1])}"
        for child, curve in drawn[:MOST_CURVES]
    ]


def slot_row(path: Path) -> Text:
    """Return a path as a row of squares, from image to head, in the colours of those who trained its slots, and who.

    Args:
        path: A path of a task.
    """
    from rich.text import Text

    from mu2net.cli.tables import DONOR_STYLES, OWN_STYLE, ROOT_STYLE

    donors = [task for task in dict.fromkeys(part.task for part in path.components) if task not in (None, path.task)]
    styles: dict[str | None, str] = {task: DONOR_STYLES[n % len(DONOR_STYLES)] for n, task in enumerate(donors)}
    styles |= {None: ROOT_STYLE, path.task: OWN_STYLE}
    row = Text("best path: ")
    for part in path.components:
        row.append("■", styles[part.task])
    own = sum(part.num_params for part in path.components if part.task == path.task)
    row.append(f"  {percent(1 - own / max(path.num_params, 1), 0)} of its parameters reused  (")
    trainers = dict.fromkeys(part.task for part in path.components)
    for number, task in enumerate(sorted(trainers, key=lambda task: (task is not None, task == path.task))):
        row.append(", " if number else "").append("■", styles[task])
        row.append(" root" if task is None else " own" if task == path.task else f" {task}")
    return row.append(")")


@contextmanager
def watching(console: Console, task: str) -> Iterator[View]:
    """Show work while the context is open.

    Args:
        console: Where to show it: a panel on a terminal, plain lines elsewhere.
        task: What is worked on.
    """
    from mu2net.cli.progress import Progress

    view = LiveView if console.is_terminal else PlainView
    with view(console, Progress(task)) as opened:
        yield opened
