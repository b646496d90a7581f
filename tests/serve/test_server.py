"""A real server process and a real HTTP client."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import takewhile

import httpx
import pytest

from mu2net.errors import ConfigError
from mu2net.serve.run import bind, is_loopback


class Server:
    def __init__(self, folder, *options, threads=1):
        main = [sys.executable, "-c", "from mu2net.cli import main; main()"]
        command = [*main, "serve", "--system", str(folder), "--port", "0", "--json", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        lines = list(takewhile(lambda line: not line.startswith("}"), self.process.stdout))
        assert lines, self.stop()[1]
        self.told = json.loads("".join(lines) + "}")
        self.url = self.told["url"]

    def stop(self, kind=signal.SIGTERM):
        self.process.send_signal(kind)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out + err


@pytest.fixture
def start(system):
    servers = []

    def start(*options, threads=1):
        servers.append(Server(system.directory, *options, threads=threads))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def ask(client, url, task, png):
    return client.post(f"{url}/v1/tasks/{task}/predict", content=png, headers={"content-type": "image/png"})


@pytest.mark.parametrize("threads", [1, 2])
def test_a_server_from_start_to_end_while_its_system_changes(start, system, small, files, pictures, tmp_path, threads):
    """No request fails while tasks come and go, and none that was accepted is lost at the end."""
    server = start("--watch", "0.05", "--max-wait-ms", "1", threads=threads)
    assert server.told["tasks"] == ["one", "two", "secret"]
    expected = {file: system.predict("one", [file])[0].label for file in files}
    found, is_over = [], threading.Event()

    def client_of(number):
        with httpx.Client(timeout=60) as client:
            for turn in range(10**6):
                file = files[(number + turn) % len(files)]
                if is_over.is_set():
                    return
                answer = ask(client, server.url, "one", file.read_bytes())
                found.append((answer.status_code, answer.json()["predictions"][0]["label"] == expected[file]))

    threads = [threading.Thread(target=client_of, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    system.add_task("three", pictures(tmp_path / "three", seed=9))
    system.evolve("three", agent="finetune", children=1, **small)
    with httpx.Client(timeout=60) as client:
        deadline = time.monotonic() + 30
        while ask(client, server.url, "three", files[0].read_bytes()).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        system.remove("two")
        while ask(client, server.url, "two", files[0].read_bytes()).status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    before = len(found)
    deadline = time.monotonic() + 30
    while len(found) < before + 20:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    is_over.set()
    for thread in threads:
        thread.join(60)
    assert set(found) == {(200, True)}
    code, text = server.stop()
    assert code == 0, text
    assert "serving version" in text


def asked_and_stopped(server, png):
    """Ask, stop the server while it works on the answer, and return the answers."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(httpx, server.url, "one", png)))
    thread.start()
    time.sleep(0.5)
    code, text = server.stop()
    thread.join(60)
    assert code == 0, text
    return answers


def test_requests_that_were_accepted_are_answered_after_sigterm(start, files):
    server = start("--max-wait-ms", "1500")
    answers = asked_and_stopped(server, files[0].read_bytes())
    assert [answer.status_code for answer in answers] == [200]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz")


def send(url, length, body):
    """Begin a request by hand, and return its connection."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = (
        f"POST /v1/tasks/one/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def test_clients_that_are_slow_or_leave(start, files):
    server = start("--timeout", "1s", "--max-wait-ms", "700")
    png = files[0].read_bytes()
    with send(server.url, 1000, b"x" * 20) as slow:
        assert slow.recv(100).startswith(b"HTTP/1.1 504 ")
    send(server.url, len(png), png).close()
    with send(server.url, 1000, b"x" * 20):
        pass  # it leaves before its body is complete
    deadline = time.monotonic() + 30
    wanted = 'mu2net_requests_total{method="POST",route="/v1/tasks/{task}/predict",status="499"} 2.0'
    while wanted not in (text := httpx.get(f"{server.url}/metrics").text):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    time.sleep(1.0)
    text = httpx.get(f"{server.url}/metrics").text
    assert "mu2net_batch_images_count 0.0" in text, "nothing was computed for who left"
    assert "mu2net_images_waiting 0.0" in text


def test_what_takes_longer_than_the_end_lasts_is_told(start, files):
    server = start("--max-wait-ms", "20000", "--drain", "1s")
    answers = asked_and_stopped(server, files[0].read_bytes())
    (answer,) = answers
    assert (answer.status_code, answer.headers["content-type"]) in (
        (200, "application/json"),  # the end came before the wait of the batch was over, and answered it
        (503, "application/problem+json"),
    )


def test_another_address_in_a_header_is_not_believed(start):
    server = start("--rate", "0.01", "--burst", "2")
    headers = [{"x-forwarded-for": f"10.0.0.{n}"} for n in range(4)]
    assert [httpx.get(f"{server.url}/v1/tasks", headers=h).status_code for h in headers] == [200, 200, 429, 429]


def test_tokens_on_the_command_line(start, tmp_path, files):
    file = tmp_path / "tokens.toml"
    sha256 = "4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2"  # of: root
    file.write_text(f'[[token]]\nname = "a"\nsha256 = "{sha256}"\ntasks = ["secret", "later"]\n')
    server = start("--auth", str(file))
    assert httpx.get(f"{server.url}/v1/tasks").status_code == 401
    tasks = httpx.get(f"{server.url}/v1/tasks", headers={"authorization": "Bearer root"}).json()["tasks"]
    assert [task["name"] for task in tasks] == ["secret"]
    code, text = server.stop(signal.SIGINT)
    assert code == 0, text
    assert "tokens name the task 'later', which does not exist (yet)" in text


def test_a_port_that_is_taken():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: .*choose another"):
            bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"cannot listen on nowhere\.invalid"):
        bind("nowhere.invalid", 0)


def test_connections_send_every_piece_at_once():
    """Otherwise the second piece of an answer waits until the client has acknowledged the first."""
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.1.2.3", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
    ],
)
def test_what_is_loopback(host, expected):
    assert is_loopback(host) is expected


def test_version_6(start):
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        bind("::1", 0).close()
    except ConfigError:
        pytest.skip("this machine has no IPv6 loopback")
    server = start("--host", "::1")
    assert server.url.startswith("http://[::1]:")
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_the_change_of_accuracy_is_said_before_it_is_served(start, png):
    server = start("--precision", "int8")
    answer = httpx.post(f"{server.url}/v1/tasks/one/predict", content=png, headers={"content-type": "image/png"})
    assert answer.status_code == 200
    code, said = server.stop()
    assert code == 0
    for name in ("one", "two"):
        (line,) = [line for line in said.splitlines() if line.startswith(f"{name}: validation accuracy ")]
        assert re.search(
            r"[0-9.]+ % as trained, [0-9.]+ % in int8 \([+-][0-9.]+ points; \d+ of 24 labels changed\)", line
        )
