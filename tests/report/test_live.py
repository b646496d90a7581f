"""A page that a server shows says when there is a newer one; nothing of what is looked at is lost."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mu2net.report.gather import gather
from mu2net.report.page import policy, render
from tests.report.grow import grow
from tests.report.test_browser import browser  # noqa: F401


@pytest.fixture
def server(tmp_path):
    """A server of the page: its tag can be changed, and what it was asked is kept."""
    text = render(gather(grow(tmp_path / "system", 2))).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            tag = f'"{self.server.version}"'
            known = self.headers.get("If-None-Match")
            self.server.asked.append(known)
            self.send_response(304 if known == tag else 200)
            self.send_header("ETag", tag)
            self.send_header("Content-Security-Policy", policy())
            body = b"" if known == tag else text
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as started:
        started.version, started.asked = 1, []
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def wait(is_true):
    """Wait in real time: that of the page stands still."""
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_newer_page_is_offered_and_not_forced(browser, server):  # noqa: F811
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.clock.install()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.locator("#search").fill("task001")
    stale = page.locator("#stale")
    wait(lambda: server.asked == [None, None])
    for _ in range(2):
        with page.expect_response(lambda answer: answer.status == 304):
            page.clock.run_for(20_000)
    assert not stale.is_visible()
    server.version = 2
    page.clock.run_for(21_000)
    stale.wait_for(state="visible")
    assert page.locator("#search").input_value() == "task001"
    page.locator("#reload").click()
    wait(lambda: page.locator("#search").input_value() == "")
    assert not stale.is_visible()
    assert '"1"' in server.asked
    assert [text for text in said if "Content Security" in text or "rror" in text] == []
    page.close()
