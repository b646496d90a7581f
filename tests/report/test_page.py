from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from mu2net.errors import ConfigError
from mu2net.report.gather import gather
from mu2net.report.page import fit, render
from tests.report.grow import grow

EVIL = "<script>alert('x')</script><!--"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return gather(grow(tmp_path_factory.mktemp("grown") / "system", 3, private=1))


class Page(HTMLParser):
    """The tags of a page, and the text of its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.texts.append((self._open, data))


def test_a_page_needs_nothing_from_elsewhere(report):
    page = Page(render(report))
    assert not [name for _, attrs in page.tags for name in attrs if name in ("src", "href", "srcset")]
    assert "url(" not in "".join(text for kind, text in page.texts if kind == "style")
    assert "@import" not in render(report)


def test_the_data_is_the_report(report):
    (data,) = [text for kind, text in Page(render(report)).texts if kind == "script" and text.startswith("{")]
    assert json.loads(data) == json.loads(report.model_dump_json())


def test_only_its_own_script_and_style_may_run(report):
    page = Page(render(report))
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    texts = [text for _, text in page.texts if not text.startswith("{")]
    assert allowed == {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts}
    assert len(allowed) == 2
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")


def test_names_are_data_and_never_markup(report):
    tasks = tuple(task.model_copy(update={"name": EVIL}) for task in report.tasks)
    text = render(report.model_copy(update={"tasks": tasks}))
    assert EVIL not in text
    assert "<!--" not in text
    assert [tag for tag, _ in Page(text).tags] == [tag for tag, _ in Page(render(report)).tags]
    (data,) = [found for kind, found in Page(text).texts if found.startswith("{")]
    assert json.loads(data)["tasks"][0]["name"] == EVIL


def test_a_replay_without_room_is_left_out_and_named(report):
    many = report.replay.model_copy(update={"children": report.replay.children * 100})
    report = report.model_copy(update={"replay": many})
    size = len(many.model_dump_json().encode())
    assert fit(report, 4 * size).replay == many
    less = fit(report, 4 * size - 1)
    assert less.replay is None
    assert less.left_out[0] == "the generations of task002"


def test_searches_without_room_are_left_out_and_named(report):
    report = report.model_copy(update={"replay": None})
    whole = len(report.model_dump_json().encode())
    assert fit(report, whole + 1000) == report
    less = fit(report, whole)
    assert less.left_out == ("task000",)
    assert [search.task for search in less.searches] == ["task001", "task002"]
    assert len(less.model_dump_json().encode()) <= whole
    none = fit(report, len(report.model_copy(update={"searches": ()}).model_dump_json()) + 200)
    assert none.searches == ()
    assert none.left_out == ("task000", "task001", "task002")
    with pytest.raises(ConfigError, match=r"a report of 3 tasks and 3 publications is larger than the 1,000 bytes"):
        fit(report, 1000)
