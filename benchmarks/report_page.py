"""How fast the page of a report shows its network in a browser: ``python -m benchmarks.report_page``.

Systems are grown without training; what they hold does not matter here, how much does. Needs Playwright and Debian's
Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from time import perf_counter

from playwright.sync_api import Browser, sync_playwright

from benchmarks.spread import Spread
from mu2net.report.gather import gather
from mu2net.report.page import render
from tests.report.grow import grow


def main(arguments: list[str] | None = None) -> int:
    """Print the seconds from opening the file until the network can be used, for every size.

    Args:
        arguments: The command line; that of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_page", description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[3, 20, 100], metavar="N", help="default: 3 20 100")
    parser.add_argument("--times", type=int, default=5, metavar="N", help="loads of each; default: 5")
    options = parser.parse_args(arguments)
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error("there is no chromium here; apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for tasks in options.tasks:
            file = Path(folder) / f"{tasks}.html"
            file.write_text(render(gather(grow(Path(folder) / str(tasks), tasks, children=4))), "utf-8")
            found = Spread.of([_seconds(browser, file, tasks) for _ in range(options.times)])
            size = file.stat().st_size / 1e6
            print(
                f"{tasks} tasks, {size:.1f} MB: {found.median:.2f} s ({found.low:.2f} to {found.high:.2f})", flush=True
            )
        browser.close()
    return 0


def _seconds(browser: Browser, file: Path, tasks: int) -> float:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    started = perf_counter()
    page.goto(file.as_uri())
    page.wait_for_function(f"document.querySelectorAll('#network .path').length === {tasks}")
    page.wait_for_function("document.querySelectorAll('#leaderboard tbody tr').length > 0")
    seconds = perf_counter() - started
    page.close()
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
