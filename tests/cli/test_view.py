from __future__ import annotations

import io
import os
import pty
import re
import threading
import time
from dataclasses import replace
from datetime import datetime

import pytest
from rich.console import Console

from mu2net.cli.output import ProgressConsole
from mu2net.cli.progress import Progress
from mu2net.cli.view import STOP_MESSAGE, LiveView, PlainView, curve_lines, slot_row, sparkline, watching
from mu2net.search.budget import Budget
from mu2net.search.events import CycleStarted, Preparing, Published, StopRequested
from mu2net.train.events import BatchDone

ERASING = re.compile(r"\x1b\[(?:1A|2K)")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pseudo-terminal of 100 columns, with all that was written to it."""

    def __init__(self):
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w")
        self.console = ProgressConsole(file=self.stream, width=100, height=30, highlight=False, legacy_windows=False)
        self._raw = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while True:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:
                return
            if not chunk:
                return
            self._raw += chunk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self._reader.join()
        os.close(self._master)

    @property
    def raw(self):
        self.stream.flush()
        time.sleep(0.05)
        return self._raw.decode()

    @property
    def text(self):
        return ESCAPES.sub("", ERASING.sub("\n", self.raw)).replace("\r", "")

    @property
    def shows_cursor(self):
        return self.raw.rindex("\x1b[?25h") > self.raw.rindex("\x1b[?25l")


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Terminal() as opened:
        yield opened


def test_a_terminal_shows_a_panel_that_moves_and_keeps_the_results(terminal, recorded):
    with watching(terminal.console, "pets") as view:
        assert isinstance(view, LiveView)
        for event in recorded:
            view(event)
            view._live.refresh()
    text = terminal.text
    for fact in (
        "pets · cycle 0 · mu2net",
        "decoding the images of pets 1 of 1,000",
        "generation 0 · children 1-2 of 4 · interval 1 of 2 · training",
        "validation accuracy: now 65.00 %, best -",
        "validation accuracy: now 90.00 %, best 75.00 %",
        "testing and publishing",
        "100 %",
    ):
        assert fact in text, fact
    assert len(set(re.findall(r"(\d+) %  *│", text))) >= 6, "the bar moves"
    assert terminal.shows_cursor


def test_children_are_drawn_on_one_scale():
    assert sparkline([0.0, 0.5, 1.0], 0.0, 1.0) == "▁▅█"
    assert sparkline([0.3, 0.3], 0.3, 0.3) == "▁▁"
    lines = curve_lines({"pets/0/0/0": [0.5, 0.75], "pets/0/0/1": [1.0]})
    assert lines == ["  child pets/0/0/0 ▁▅ 75.00 %", "  child pets/0/0/1 █ 100.00 %"]
    assert curve_lines({}) == []
    assert len(curve_lines({str(number): [0.5] for number in range(20)})) == 8
    (long,) = curve_lines({"c": [0.1] * 50 + [0.9]})
    assert long.count("▁") + long.count("█") == 40


def test_a_path_is_drawn_in_the_colours_of_who_trained_it(network_path):
    path = network_path("pets/0/1/1", 0.9)
    donor = replace(path.components[0], task="flowers")
    row = slot_row(replace(path, components=(path.components[0], donor, path.components[1])))
    assert row.plain == "best path: ■■■  44 % of its parameters reused  (■ root, ■ flowers, ■ own)"
    assert [str(span.style) for span in row.spans] == ["cyan", "magenta", "bold green"] * 2


def test_the_panel_shows_the_children_the_best_path_and_the_pace(terminal, recorded):
    progress = Progress("pets")
    for event in recorded[:-3]:
        progress.update(event)
    with LiveView(terminal.console, progress):
        time.sleep(0.4)
    shown = ESCAPES.sub("", terminal.raw)
    assert "child pets/0/1/0" in shown
    assert "best path: ■■  29 % of its parameters reused  (■ root, ■ own)" in shown
    assert "a child trains on 250 images per second" in shown


def test_when_it_is_over_only_the_results_stay(terminal, recorded):
    with watching(terminal.console, "pets") as view:
        for event in recorded:
            view(event)
    lines = [line for line in terminal.text.split("\n") if re.match(r"\s*pets: ", line)]
    assert [line.split(":")[1].split()[0] for line in lines] == ["cycle", *["child"] * 4, "published"]


def test_the_panel_moves_without_any_event(terminal):
    with watching(terminal.console, "pets") as view:
        view(CycleStarted("pets", 0, "mu2net", Budget(seconds=4), 0, 0.0))
        time.sleep(1.2)
    shown = set(re.findall(r"(\d+) %", terminal.text))
    assert len(shown) >= 3, "the clock alone moves the bar"


def test_the_panel_leaves_room_for_an_echoed_ctrl_c(terminal):
    with watching(terminal.console, "pets") as view:
        view(Preparing("decoding", 1, 2))
        view._live.refresh()
    widths = [len(line.rstrip()) for line in terminal.text.split("\n") if line.startswith(("│", "╭", "╰"))]
    assert widths
    assert max(widths) <= 100 - len("^C^C")


def test_the_first_ctrl_c_is_answered_in_the_panel(terminal):
    with watching(terminal.console, "pets") as view:
        view(StopRequested("interval"))
        view._live.refresh()
        assert view.is_stop_requested
        assert STOP_MESSAGE in terminal.text
        view(StopRequested("now"))
        view._live.refresh()
    assert "stopping at once" in terminal.text


def test_the_panel_goes_away_when_the_work_fails(terminal):
    with pytest.raises(ZeroDivisionError), watching(terminal.console, "pets"):
        raise ZeroDivisionError
    assert terminal.shows_cursor


def plain_console():
    return Console(file=io.StringIO(), width=60, highlight=False)


def test_elsewhere_there_is_a_line_with_a_time_per_phase_and_child(recorded):
    console = plain_console()
    with PlainView(console, Progress("pets"), lambda: datetime(2024, 5, 6, 7, 8, 9)) as view:
        for event in recorded:
            view(event)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "07:08:09 pets: decoding the images of pets"
    assert lines[-1] == "07:08:09 pets: published pets/0/1/1: 90.00 % validation, 88.00 % test"
    assert "\x1b" not in "".join(lines)


def test_what_is_no_terminal_gets_plain_lines():
    with watching(plain_console(), "pets") as view:
        assert isinstance(view, PlainView)
        assert not view.is_stop_requested


def test_ctrl_c_is_answered_outside_of_the_signal_handler():
    console = plain_console()
    with watching(console, "pets") as view:
        view(StopRequested("interval"))
        assert console.file.getvalue() == "", "printing inside of a handler may meet itself half-way"
        view(BatchDone("train", 0, 1, 2))
        view(BatchDone("train", 0, 2, 2))
    assert console.file.getvalue().count(STOP_MESSAGE) == 1


def test_an_earlier_path_that_stays_is_said_to_stay(network_path):
    console = plain_console()
    with watching(console, "pets") as view:
        view(Published(network_path("pets/0/0/0", 0.9, 0.8), 0.9, False))
    assert "the earlier path pets/0/0/0 stays: 90.00 % validation, 80.00 % test" in console.file.getvalue()


def test_a_reader_that_leaves_does_not_end_the_search():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        console = ProgressConsole(file=stream, width=80)
        with watching(console, "pets") as view:
            for number in range(3):
                view(Preparing(f"step {number}", 1, 2))
        assert console.quiet
