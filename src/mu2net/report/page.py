"""The page: one HTML file that needs no network, made of a report and the files in ``assets``."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from mu2net.errors import ConfigError
from mu2net.report.data import Report

_SCRIPTS = ("basics.js", "network.js", "replay.js", "tables.js", "plots.js", "quality.js", "start.js")

MAX_BYTES = 5 * 2**20
"""Most bytes of data in a page."""


def fit(report: Report, limit: int = MAX_BYTES) -> Report:
    """Return a report without the searches for which there is no room; those of the tasks added last stay.

    Thumbnails go first, where they would take more than half of it, and the replay of the last search where it would
    take more than a quarter.

    Args:
        report: The report.
        limit: Most bytes of it.

    Raises:
        ConfigError: Even without any search it is too large.
    """
    report = _without_replay(_without_thumbnails(report, limit), limit)
    searches = {search.task: len(search.model_dump_json().encode()) + 1 for search in report.searches}
    room = limit - len(report.model_copy(update={"searches": ()}).model_dump_json().encode())
    room -= sum(len(name.encode()) + 3 for name in searches)
    if room < 0:
        raise ConfigError(
            f"a report of {len(report.tasks)} tasks and {len(report.growth)} publications is larger than the "
            f"{limit:,} bytes of a page; write it as JSON: mu2net report --json"
        )
    kept: set[str] = set()
    for name in reversed(searches):
        room -= searches[name]
        if room < 0:
            break
        kept.add(name)
    chosen = tuple(search for search in report.searches if search.task in kept)
    return report.model_copy(
        update={"searches": chosen, "left_out": (*report.left_out, *(name for name in searches if name not in kept))}
    )


def _without_thumbnails(report: Report, limit: int) -> Report:
    """Return a report whose thumbnails take no more than half of the room."""
    size = sum(len(mistake.thumbnail) for quality in report.quality for mistake in quality.mistakes)
    if 2 * size <= limit:
        return report
    bare = tuple(quality.model_copy(update={"mistakes": ()}) for quality in report.quality)
    what = tuple(f"the pictures of {quality.task}'s mistakes" for quality in report.quality if quality.mistakes)
    return report.model_copy(update={"quality": bare, "left_out": (*report.left_out, *what)})


def _without_replay(report: Report, limit: int) -> Report:
    """Return a report whose replay takes no more than a quarter of the room."""
    if report.replay is None or 4 * len(report.replay.model_dump_json().encode()) <= limit:
        return report
    what = f"the generations of {report.replay.task}"
    return report.model_copy(update={"replay": None, "left_out": (*report.left_out, what)})


def render(report: Report) -> str:
    """Return the page of a report.

    Names from outside reach the page as JSON alone, in which no tag can begin or end, and are shown as text.

    Args:
        report: What it shows.

    Raises:
        ConfigError: The report is too large for a page.
    """
    report = fit(report)
    data = report.model_dump_json().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    page = _asset("page.html")
    for mark, text in (
        ("POLICY", policy()),
        ("STYLE", _asset("style.css")),
        ("SCRIPT", _script()),
        ("DATA", data),
    ):
        before, found, after = page.partition(mark)
        assert found, mark
        page = before + text + after
    return page


def policy() -> str:
    """Return the Content-Security-Policy of a page, for the header of who serves it.

    Where it is served, its script asks the same server whether there is a newer one; nothing else is ever loaded.
    """
    style, script = _hash(_asset("style.css")), _hash(_script())
    sources = f"style-src 'sha256-{style}'; script-src 'sha256-{script}'"
    return f"default-src 'none'; connect-src 'self'; img-src data:; {sources}"


def _script() -> str:
    return "\n".join(_asset(name) for name in _SCRIPTS)


def _asset(name: str) -> str:
    return files("mu2net.report").joinpath("assets", name).read_text("utf-8")


def _hash(text: str) -> str:
    """Return the hash by which a browser knows an inline script or style (CSP level 3, section 2.3.1)."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
