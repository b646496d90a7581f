"""The HTTP interface, request by request."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from mu2net.data.decode import decode_rgb
from mu2net.errors import ComponentError, ConfigError, StoreError
from mu2net.serve.tokens import Principal, Tokens
from tests.processes import wait_until
from tests.serve.conftest import encoded


def problem(response, status, kind, field=None):
    """Check that a response is such a problem, and return what it says."""
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, document["status"]) == (status, status)
    assert document["type"] == f"urn:mu2net:problem:{kind}"
    assert document["title"]
    assert document.get("field") == field
    return document["detail"]


def post(client, address="/v1/tasks/one/predict", **options):
    return client.post(address, **options)


def label(system, name, image):
    return system.predict(name, [Image.open(io.BytesIO(image))])[0]


# -- predictions ------------------------------------------------------------------------------------------------


def test_many_images_for_one_task(client, system, files):
    uploads = [("images", (file.name, file.read_bytes())) for file in files[:3]]
    answer = post(client, "/v1/tasks/two/predict?top_k=2", files=uploads)
    assert answer.status_code == 200
    document = answer.json()
    assert (document["task"], document["version"]) == ("two", system._store.version())
    assert len(document["predictions"]) == 3
    for found, file, expected in zip(
        document["predictions"], files, system.predict("two", files[:3], top=2), strict=False
    ):
        assert found["image"] == file.name
        assert found["label"] == expected.label
        assert found["probability"] == pytest.approx(expected.probability, abs=1e-5)
        assert [entry["label"] for entry in found["top"]] == [name for name, _ in expected.top]


def test_all_tasks_for_one_image_without_the_private_ones(client, system, png):
    answer = post(client, "/v1/predict?tasks=*", content=png, headers={"content-type": "image/png"})
    (found,) = answer.json()["predictions"]
    assert found["image"] == "image[0]"
    assert {name: entry["label"] for name, entry in found["tasks"].items()} == {
        name: label(system, name, png).label for name in ("one", "two")
    }
    assert all(len(entry["top"]) == 3 for entry in found["tasks"].values())


def test_tasks_may_be_named_one_by_one(client, png):
    for query in ("tasks=one&tasks=two", "tasks=two,one"):
        answer = post(client, f"/v1/predict?{query}", content=png, headers={"content-type": "image/png"})
        assert set(answer.json()["predictions"][0]["tasks"]) == {"one", "two"}


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_json_with_base64(client, system, png, prefix):
    text = prefix + base64.b64encode(png).decode()
    answer = post(client, "/v1/predict", json={"images": [text, text], "tasks": ["two"], "top_k": 1})
    assert [found["tasks"]["two"]["top"][0]["label"] for found in answer.json()["predictions"]] == [
        label(system, "two", png).label
    ] * 2
    assert [len(found["tasks"]["two"]["top"]) for found in answer.json()["predictions"]] == [1, 1]


def test_fields_of_a_form(client, png):
    form = {"tasks": "one,two", "top_k": "1"}
    answer = post(client, "/v1/predict", files=[("images", ("a.png", png))], data=form)
    (found,) = answer.json()["predictions"]
    assert list(found["tasks"]) == ["one", "two"]
    assert [len(entry["top"]) for entry in found["tasks"].values()] == [1, 1]


def test_a_file_without_a_name_of_its_own(client, png):
    body = b'--x\r\nContent-Disposition: form-data; name="images"; filename=""\r\n\r\n' + png + b"\r\n--x--\r\n"
    answer = post(client, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert [found["image"] for found in answer.json()["predictions"]] == ["image[0]"]


def test_images_of_any_kind(client, system):
    for width, height, kind in ((300, 20, "JPEG"), (8, 8, "WEBP"), (1, 1, "PNG")):
        body = encoded(width, height, kind)
        answer = post(client, content=body, headers={"content-type": "application/octet-stream"})
        assert answer.json()["predictions"][0]["label"] == label(system, "one", body).label


def test_requests_at_the_same_time(client, system, files):
    expected = {
        (name, file): found.label
        for name in ("one", "two")
        for file, found in ((file, system.predict(name, [file])[0]) for file in files[:6])
    }
    found = {}

    def ask(name, file):
        answer = post(
            client, f"/v1/tasks/{name}/predict", content=file.read_bytes(), headers={"content-type": "image/png"}
        )
        found[name, file] = answer.json()["predictions"][0]["label"]

    threads = [threading.Thread(target=ask, args=pair) for pair in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == expected


# -- refusals ---------------------------------------------------------------------------------------------------


def test_unknown_tasks(client, png):
    image = {"content": png, "headers": {"content-type": "image/png"}}
    assert "did you mean 'one'?" in problem(
        post(client, "/v1/tasks/onee/predict", **image), 404, "unknown-task", "task"
    )
    assert "'onee'" in problem(post(client, "/v1/predict?tasks=two,onee", **image), 404, "unknown-task", "tasks")
    assert "no task is named" in problem(post(client, "/v1/predict", **image), 422, "invalid-parameter", "tasks")
    assert "no task is named" in problem(
        post(client, "/v1/predict?tasks=,", **image), 422, "invalid-parameter", "tasks"
    )


def test_a_private_task_is_as_unknown_as_one_that_is_not_there(client, png):
    image = {"content": png, "headers": {"content-type": "image/png"}}
    said = problem(post(client, "/v1/tasks/secret/predict", **image), 404, "unknown-task", "task")
    assert said == "unknown task 'secret'; known: one, two"
    problem(post(client, "/v1/predict?tasks=secret", **image), 404, "unknown-task", "tasks")
    problem(client.get("/v1/tasks/secret"), 404, "unknown-task", "task")
    assert "secret" not in client.get("/v1/tasks").text + client.get("/v1/tasks/one").text + client.get("/metrics").text


@pytest.mark.parametrize("top_k", ["0", "-1", "many"])
def test_top_k_is_a_positive_number(client, png, top_k):
    address = f"/v1/tasks/one/predict?top_k={top_k}"
    assert "top_k" in problem(post(client, address, content=png), 422, "invalid-parameter", "top_k")
    form = {"files": [("images", ("a.png", png))], "data": {"top_k": top_k}}
    assert "top_k" in problem(post(client, **form), 422, "invalid-parameter", "top_k")


def test_more_classes_than_there_are(client, png):
    answer = post(client, "/v1/tasks/one/predict?top_k=999", content=png, headers={"content-type": "image/png"})
    assert len(answer.json()["predictions"][0]["top"]) == 3


def test_bodies_that_hold_no_image(client):
    def said(status, kind, field, **options):
        return problem(post(client, **options), status, kind, field)

    json = {"content-type": "application/json"}
    assert "text/plain" in said(415, "media-type", "content-type", content=b"x", headers={"content-type": "text/plain"})
    assert "missing" in said(415, "media-type", "content-type", content=b"x")
    assert "empty" in said(400, "no-image", "images", content=b"", headers={"content-type": "image/png"})
    assert "does not decode" in said(422, "bad-image", "images.0", content=b"x", headers={"content-type": "image/png"})
    assert "no JSON" in said(400, "no-json", "body", content=b"{", headers=json)
    assert "no JSON" in said(400, "no-json", "body", content=b"[" * 2000, headers=json)
    assert "no JSON" in said(400, "no-json", "body", content=b"\xff\xfe\xff", headers=json)
    assert "images" in said(422, "invalid-parameter", "images", json={})
    assert "images" in said(422, "invalid-parameter", "images", json={"images": []})
    assert "colour" in said(400, "unknown-field", "colour", json={"images": ["aa=="], "colour": 1})
    assert "images.0" in said(422, "invalid-parameter", "images.0", json={"images": [1, 2]})
    assert "body" in said(422, "invalid-parameter", "body", json=[1])
    assert "no base64" in said(400, "no-base64", "images.1", json={"images": ["", "a?"]})
    assert "unknown file 'photo'" in said(400, "unknown-field", "photo", files=[("photo", ("a.png", b"x"))])
    assert "unknown field 'top'" in said(400, "unknown-field", "top", files=[("images", b"x")], data={"top": "1"})
    form = {"content-type": "multipart/form-data"}
    assert "no form" in said(400, "no-form", "body", content=b"x", headers=form)
    assert "there is no image" in said(400, "no-image", "images", files={"top_k": (None, "1")})


def test_one_bad_image_among_good_ones_is_named(client, png):
    uploads = [("images", (name, data)) for name, data in (("a.png", png), ("b.png", png[:60]), ("c.png", png))]
    assert "'b.png'" in problem(post(client, files=uploads), 422, "bad-image", "images.1")


def test_limits(serve, png):
    client = serve(max_body=2000, max_images=2, max_pixels=100)
    raw = {"content-type": "image/png"}
    assert "longer than 2,000 bytes" in problem(
        post(client, content=b"x" * 2001, headers=raw), 413, "body-too-long", "body"
    )

    def parts():
        yield from (b"x" * 1500, b"x" * 1500)

    assert "longer than" in problem(post(client, content=parts(), headers=raw), 413, "body-too-long", "body")
    three = [("images", ("a.png", png))] * 3
    assert "at most 2" in problem(post(client, files=three), 413, "too-many-images", "images")
    said = problem(post(client, content=encoded(101, 1), headers=raw), 422, "bad-image", "images.0")
    assert "expected at most 100 pixels, found 101 x 1" in said
    assert post(client, content=encoded(100, 1), headers=raw).status_code == 200


def test_clients_that_ask_too_often(serve):
    client = serve(rate=0.01, burst=2)
    assert [client.get("/v1/tasks").status_code for _ in range(2)] == [200, 200]
    answer = client.get("/v1/tasks")
    assert "more requests than are allowed" in problem(answer, 429, "rate")
    assert 90 <= int(answer.headers["retry-after"]) <= 100
    assert client.get("/healthz").status_code == 200


def test_a_full_queue(serve, png, monkeypatch):
    client = serve(queue=1, max_images=1)
    service = client.app.state.service
    entered, gate = threading.Event(), threading.Event()
    classify = service._classifier.classify

    def slow(*args):
        entered.set()
        assert gate.wait(30)
        return classify(*args)

    monkeypatch.setattr(service._classifier, "classify", slow)
    image = {"content": png, "headers": {"content-type": "image/png"}}
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(post(client, **image))) for _ in range(2)]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()
    for _ in range(1000):
        if service._batcher.waiting:
            break
        threading.Event().wait(0.01)
    refused = post(client, **image)
    assert "1 images wait already" in problem(refused, 429, "busy")
    assert int(refused.headers["retry-after"]) >= 1
    gate.set()
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_request_that_takes_too_long(serve, png, monkeypatch):
    client = serve(timeout=0.05)
    gate = threading.Event()
    monkeypatch.setattr(client.app.state.service._classifier, "classify", lambda *_: gate.wait(30))
    answer = post(client, content=png, headers={"content-type": "image/png"})
    gate.set()
    assert "no answer within 0.05 s" in problem(answer, 504, "timeout")


def test_a_bug_is_said_but_not_shown(client, png, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("the inside")

    monkeypatch.setattr(client.app.state.service._classifier, "classify", broken)
    answer = post(client, content=png, headers={"content-type": "image/png"})
    assert "the inside" not in answer.text
    assert "its log says why" in problem(answer, 500, "internal")
    assert "the inside" in caplog.text
    assert 'mu2net_errors_total{route="/v1/tasks/{task}/predict"} 1.0' in client.get("/metrics").text


def test_what_is_not_there(client):
    problem(client.get("/v2"), 404, "not-found")
    answer = client.put("/v1/tasks")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


def peak():
    """Return the most memory that this process ever held, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"images": [' + b"1," * 100 + b"1]}", "too-many-images"),
        (b'{"images": ["aa=="], "tasks": [' + b"1," * 1500 + b"1]}", "invalid-parameter"),
        (b"{" + b",".join(b'"%d": 1' % n for n in range(1500)) + b"}", "unknown-field"),
        (b'{"images": ["aa=="], "tasks": ["' + b"x" * 5_000_000 + b'"]}', "unknown-task"),
        (b'{"images": ["aa=="], "tasks": [' + b'"x",' * 1500 + b'"x"]}', "invalid-parameter"),
        (b'{"images": [' + b"1," * 10_000_000 + b"1]}", "too-many-values"),
        (b"[" + b"{}," * 10_000_000 + b"{}]", "too-many-values"),
        (b"[" * 30_000_000, "too-many-values"),
    ],
)
def test_a_huge_body_of_nonsense_costs_little(client, body, kind):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = peak(), time.process_time()
    answer = post(client, "/v1/predict", content=body, headers={"content-type": "application/json"})
    assert answer.json()["type"] == f"urn:mu2net:problem:{kind}"
    assert len(answer.content) < 2000
    assert time.process_time() - started < 3
    assert peak() - before < 200 * 2**20


def test_more_files_than_are_allowed(serve, png):
    client = serve(max_images=2)
    for count in (3, 1200):
        uploads = [("images", ("a.png", png))] * count
        assert "expected at most 2" in problem(post(client, files=uploads), 413, "too-many-images", "images")


@pytest.mark.parametrize("charset", ["undefined", "punycode", "nonsense", "utf-7"])
def test_a_form_in_a_strange_charset(client, png, charset):
    """It is the client's mistake, if it is one at all."""
    body = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a+.png"\r\n\r\n' + png + b"\r\n--x--\r\n"
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    answer = post(client, content=body, headers={"content-type": kind})
    assert answer.status_code == 200 or problem(answer, 400, "no-form", "content-type")


def test_an_icon_that_hides_a_large_image(serve):
    client = serve(max_pixels=1000)
    inner = encoded(100, 100)
    entry = bytes([100, 100, 0, 0]) + (1).to_bytes(2, "little") + (32).to_bytes(2, "little")
    icon = b"\0\0\1\0\1\0" + entry + len(inner).to_bytes(4, "little") + (22).to_bytes(4, "little") + inner
    answer = post(client, content=icon, headers={"content-type": "image/x-icon"})
    assert "expected at most 1,000 pixels, found 100 x 100" in problem(answer, 422, "bad-image", "images.0")
    assert post(serve(), content=icon, headers={"content-type": "image/x-icon"}).status_code == 200


def test_bodies_of_all_requests_together(serve, png):
    client = serve(max_body=len(png), max_bodies=len(png) + 10)
    image = {"content": png, "headers": {"content-type": "image/png"}}
    for _ in range(3):  # what was held is given back
        assert post(client, **image).status_code == 200
    client.app.state.service.budget.take(11)
    assert "hold 11 bytes already" in problem(post(client, **image), 429, "busy")
    assert client.app.state.service.budget._held == 11


def test_who_leaves_makes_no_room_for_another_decoder(serve, png, monkeypatch):
    """The thread that decodes goes on to its end, so the next image waits for it."""
    running, most, count = set(), [], os.cpu_count() or 1

    def slow(data, name, **options):
        running.add(threading.get_ident())
        most.append(len(running))
        time.sleep(0.3)
        running.discard(threading.get_ident())
        return decode_rgb(data, name, **options)

    monkeypatch.setattr("mu2net.serve.service.decode_rgb", slow)
    client = serve(timeout=0.1)
    image = {"content": png, "headers": {"content-type": "image/png"}}
    threads = [threading.Thread(target=post, args=(client,), kwargs=image) for _ in range(3 * count)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join(60)
    assert max(most) <= count
    monkeypatch.undo()
    time.sleep(0.5)
    assert post(client, **image).status_code == 200


def test_a_form_of_nothing_but_boundaries_lets_others_have_their_turn(client):
    """It takes seconds; another request is answered meanwhile."""
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
    body = head + b"\r\n--xy" * 1_000_000 + b"\r\n--x--\r\n"
    form = {"content": body, "headers": {"content-type": "multipart/form-data; boundary=x"}}
    answers = []
    thread = threading.Thread(target=lambda: answers.append(post(client, **form)))
    thread.start()
    waited = []
    while thread.is_alive():
        started = time.perf_counter()
        assert client.get("/healthz").status_code == 200
        waited.append(time.perf_counter() - started)
    thread.join()
    problem(answers[0], 422, "bad-image", "images.0")
    assert len(waited) > 3
    assert max(waited) < 1.0


def test_places_are_kept_before_anything_is_decoded(serve, monkeypatch):
    client = serve(queue=2, max_images=2)
    monkeypatch.setattr("mu2net.serve.service.decode_rgb", lambda *_, **__: pytest.fail("it was decoded"))
    with client.app.state.service._batcher.places(2):
        answer = post(client, content=b"x", headers={"content-type": "image/png"})
    problem(answer, 429, "busy")


def test_strange_methods_are_counted_together(client):
    for method in ("AAAA", "BBBB"):
        assert client.request(method, "/v1/tasks").status_code == 405
    text = client.get("/metrics").text
    assert 'mu2net_requests_total{method="other",route="/v1/tasks",status="405"} 2.0' in text
    assert "AAAA" not in text


# -- tasks ------------------------------------------------------------------------------------------------------


def test_the_list_of_tasks(client, system):
    document = client.get("/v1/tasks").json()
    assert [task["name"] for task in document["tasks"]] == ["one", "two"]
    first, expected = document["tasks"][0], system.task("one")
    assert (first["validation"], first["test"], first["num_classes"]) == (expected.validation, expected.test, 3)
    assert (first["path"], first["image_size"], first["is_private"]) == (expected.path_id, 8, False)


def test_all_about_a_task(client, system):
    document = client.get("/v1/tasks/two").json()
    path = system.path("two")
    assert document["classes"] == ["blue", "green", "red"]
    assert document["influence"] == sorted(system.provenance("two").influence)
    assert [slot["digest"] for slot in document["slots"]] == [slot.digest for slot in path.slots]
    assert document["agent"] == system.task("two").agent
    assert document["flops"] == system.task("two").flops


def test_health_and_metrics(client, png):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    post(client, "/v1/predict?tasks=*", content=png, headers={"content-type": "image/png"})
    counted = "mu2net_batch_images_count 1.0"  # a batch is told of when its answers are on their way
    wait_until(lambda: counted in client.get("/metrics").text)
    text = client.get("/metrics").text
    assert 'mu2net_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in text
    assert "mu2net_tasks 2.0" in text, "private ones are not told of"
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert 0 < float(values["mu2net_trunk_reuse_ratio"]) < 1
    assert float(values["mu2net_components_loaded"]) > 5
    assert float(values["mu2net_component_bytes"]) > 1000
    assert float(values["process_resident_memory_bytes"]) > 1e7


def test_the_page_shows_the_public_tasks(client, system, png):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert answer.headers["content-security-policy"] in answer.text, "the page says the same of itself"
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', answer.text)
    assert [task["name"] for task in json.loads(data)["tasks"]] == ["one", "two"]
    assert "secret" not in answer.text
    seen = client.get("/", headers={"if-none-match": answer.headers["etag"]})
    assert (seen.status_code, seen.content) == (304, b"")


def test_a_page_that_would_be_too_large_is_a_problem(client, monkeypatch):
    monkeypatch.setattr("mu2net.report.page.fit", refuse)
    assert "larger than" in problem(client.get("/"), 503, "no-page")


def refuse(report):
    raise ConfigError("a report of 2 tasks is larger than a page")


def test_the_page_is_for_those_who_may_see_all_of_it(serve, tokens):
    client = serve(tokens=tokens)
    assert problem(client.get("/"), 401, "unauthorized", "authorization")
    for token, status in (("all", 200), ("clinic", 200), ("narrow", 403)):
        answer = client.get("/", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status
        assert "secret" not in answer.text


def test_the_page_is_drawn_anew_when_something_happened(serve, system):
    client = serve(watch=0.05)
    before = client.get("/")
    system.remove("two")
    deadline = time.monotonic() + 20
    while (after := client.get("/")).headers["etag"] == before.headers["etag"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert '"name":"two"' in before.text
    assert '"name":"two"' not in after.text


def test_a_server_that_stops_takes_nothing_more(serve, png):
    client = serve(drain=0.05)
    service = client.app.state.service
    service.stop()
    assert client.get("/readyz").status_code == 503
    answer = post(client, content=png, headers={"content-type": "image/png"})
    assert "the server is stopping" in problem(answer, 503, "stopping")
    assert answer.headers["retry-after"] == "5"
    assert until(lambda: service._batcher._is_closed), "its time is over"
    assert client.get("/healthz").status_code == 200


# -- tokens -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tokens():
    scopes = {"all": ["*"], "clinic": ["*", "secret"], "narrow": ["two"], "none": ["gone"]}
    return Tokens(
        {hashlib.sha256(name.encode()).hexdigest(): Principal(name, frozenset(tasks)) for name, tasks in scopes.items()}
    )


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def test_tokens_say_which_tasks(serve, tokens, png):
    client = serve(tokens=tokens)

    def names(token):
        return [task["name"] for task in client.get("/v1/tasks", headers=bearer(token)).json()["tasks"]]

    assert names("all") == ["one", "two"]
    assert names("clinic") == ["one", "two", "secret"]
    assert names("narrow") == ["two"]
    image = {"content": png}
    raw = {"content-type": "image/png"}
    answer = post(client, "/v1/tasks/secret/predict", headers=bearer("clinic") | raw, **image)
    assert answer.json()["predictions"][0]["label"] in ("blue", "green", "red")
    for token in ("all", "narrow"):
        refused = post(client, "/v1/tasks/secret/predict", headers=bearer(token) | raw, **image)
        problem(refused, 404, "unknown-task", "task")
    both = post(client, "/v1/predict?tasks=*,secret", headers=bearer("clinic") | raw, **image)
    assert list(both.json()["predictions"][0]["tasks"]) == ["one", "two", "secret"]
    public = post(client, "/v1/predict?tasks=*", headers=bearer("clinic") | raw, **image)
    assert list(public.json()["predictions"][0]["tasks"]) == ["one", "two"]
    nothing = post(client, "/v1/predict?tasks=*", headers=bearer("none") | raw, **image)
    assert "no task yet that you may use" in problem(nothing, 404, "unknown-task", "tasks")


def test_a_narrow_token_learns_of_nothing_else(serve, tokens, system):
    client = serve(tokens=tokens)
    assert "one" in system.provenance("two").influence
    text = client.get("/v1/tasks/two", headers=bearer("narrow")).text
    assert '"one"' not in text
    assert '"influence":["two"]' in text
    assert '"influence":["one","two"]' in client.get("/v1/tasks/two", headers=bearer("all")).text
    document = client.get("/openapi.json").json()
    assert document["paths"]["/v1/tasks"]["get"]["security"] == [{"token": []}]
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_a_token_is_the_bytes_that_were_sent(serve):
    known = Tokens({hashlib.sha256("öffentlich".encode()).hexdigest(): Principal("web", frozenset(["*"]))})
    client = serve(tokens=known)
    for sent, status in (("öffentlich", 200), ("offentlich", 401)):
        assert client.get("/v1/tasks", headers={b"authorization": f"Bearer {sent}".encode()}).status_code == status


def test_guessing_tokens_is_slowed_down(serve, tokens):
    client = serve(tokens=tokens, rate=0.01, burst=2)
    statuses = [client.get("/v1/tasks", headers=bearer(f"guess {n}")).status_code for n in range(4)]
    assert statuses == [401, 401, 429, 429]


@pytest.mark.parametrize("header", [{}, bearer("wrong"), {"authorization": "Basic all"}, {"authorization": "all"}])
def test_no_known_token(serve, tokens, header):
    client = serve(tokens=tokens)
    for address in ("/v1/tasks", "/v1/tasks/one", "/metrics"):
        answer = client.get(address, headers=header)
        assert "Authorization: Bearer" in problem(answer, 401, "unauthorized", "authorization")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/healthz", headers=header).status_code == 200


def test_every_token_has_a_rate_of_its_own(serve, tokens):
    client = serve(tokens=tokens, rate=0.01, burst=1)
    assert client.get("/v1/tasks", headers=bearer("all")).status_code == 200
    assert client.get("/v1/tasks", headers=bearer("all")).status_code == 429
    assert client.get("/v1/tasks", headers=bearer("narrow")).status_code == 200


# -- what changes while it serves -------------------------------------------------------------------------------


def until(condition):
    for _ in range(1000):
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


def test_new_and_removed_tasks_are_taken_up(serve, system, small, png, pictures, tmp_path):
    client = serve(watch=0.02)

    def names():
        return [task["name"] for task in client.get("/v1/tasks").json()["tasks"]]

    system.add_task("three", pictures(tmp_path / "three", seed=9))
    assert names() == ["one", "two"]
    system.evolve("three", agent="finetune", children=1, **small)
    assert until(lambda: names() == ["one", "two", "three"])
    answer = post(client, "/v1/tasks/three/predict", content=png, headers={"content-type": "image/png"})
    assert answer.json()["predictions"][0]["label"] == label(system, "three", png).label
    system.remove("two")
    assert until(lambda: names() == ["one", "three"])
    assert client.get("/v1/tasks").json()["version"] == system._store.version()


def test_a_task_that_went_while_it_was_asked(client, system, png, monkeypatch):
    """What is there now answers; what is not is unknown."""
    service = client.app.state.service
    classify = service._classifier.classify

    def gone(edition, images, wanted):
        if "two" in wanted:
            raise ComponentError("component abc is missing")
        return classify(edition, images, wanted)

    monkeypatch.setattr(service._classifier, "classify", gone)
    system.remove("two")
    image = {"content": png, "headers": {"content-type": "image/png"}}
    (found,) = post(client, "/v1/predict?tasks=*", **image).json()["predictions"]
    assert list(found["tasks"]) == ["one"]
    problem(post(client, "/v1/tasks/two/predict", **image), 404, "unknown-task", "task")


def test_a_damaged_component_is_a_failure_of_the_server(client, png, monkeypatch):
    def broken(*_):
        raise ComponentError("component abc is altered")

    monkeypatch.setattr(client.app.state.service._classifier, "classify", broken)
    answer = post(client, content=png, headers={"content-type": "image/png"})
    problem(answer, 500, "internal")


@pytest.mark.parametrize("error", [StoreError("the disk is gone"), OSError("the disk is gone")])
def test_a_system_that_cannot_be_read_goes_on_to_be_served(serve, png, monkeypatch, caplog, error):
    client = serve(watch=0.01)

    def broken(*_):
        raise error

    monkeypatch.setattr(client.app.state.service._classifier, "edition", broken)
    assert until(lambda: "the disk is gone" in caplog.text)
    assert post(client, content=png, headers={"content-type": "image/png"}).status_code == 200
    assert "mu2net_watch_errors_total 0.0" not in client.get("/metrics").text


def test_images_are_equal_for_one_token_only(client, png):
    """Otherwise the time of an answer would tell what others sent."""
    service = client.app.state.service

    def content(name):
        who = Principal(name, frozenset(["*"]))
        (found,) = client.portal.call(service._prepare, [("image", png)], {8}, who)
        return found.content

    assert content("one") == content("one") != content("two")
    assert content(None) == content(None) != content("one")
