"""Pictures of a report's page for the documentation: ``python -m benchmarks.screenshots PAGE.html FOLDER``.

Every section becomes a PNG as a browser of 1,600 pixels shows it. Needs Playwright and Debian's Chromium.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

SECTIONS = {
    "network": "section:has(> #network-title) #stage",
    "leaderboard": "#leaderboard",
    "sharing": "#sharing",
    "growth": "#growth",
    "search": "#children",
    "quality": "#quality",
}
"""What is shown, by the name of its file."""


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures.

    Args:
        arguments: The command line; that of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screenshots", description=__doc__)
    parser.add_argument("page", type=Path, metavar="PAGE.html", help="what mu2net report wrote")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the pictures go")
    parser.add_argument("--task", metavar="NAME", help="whose search is shown; default: that of the task added last")
    options = parser.parse_args(arguments)
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error("there is no chromium here; apt-get install chromium")
    if not options.page.is_file():
        parser.error(f"there is no page {options.page}; make it: mu2net report --out {options.page}")
    options.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 900}, color_scheme="light")
        page.goto(options.page.absolute().as_uri())
        if options.task:
            page.locator("#searched").select_option(options.task)
            page.locator("#judged").select_option(options.task)
        for name, selector in SECTIONS.items():
            page.locator(selector).screenshot(path=options.folder / f"{name}.png", animations="disabled")
            print(options.folder / f"{name}.png")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
