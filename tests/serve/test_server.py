"""A real server process and a real HTTP client."""

from __future__ import annotations

import json
import os
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
    def __init__(self, folder, *options):
        main = [sys.executable, "-c", "from mu2net.cli import main; main()"]
        command = [*main, "serve", "--system", str(folder), "--port", "0", "--json", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
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

    def start(*options):
        servers.append(Server(system.directory, *options))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def ask(client, url, task, png):
    return client.post(f"{url}/v1/tasks/{task}/predict", content=png, headers={"content-type": "image/png"})


def test_a_server_from_start_to_end_while_its_system_changes(start, system, small, files, pictures, tmp_path):
    """No request fails while tasks come and go, and none that was accepted is lost at the end."""
    server = start("--watch", "0.05", "--max-wait-ms", "1")
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


def test_requests_that_were_accepted_are_answered_after_sigterm(start, files):
    server = start("--max-wait-ms", "1500")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(httpx, server.url, "one", files[0].read_bytes())))
    thread.start()
    time.sleep(0.5)
    code, text = server.stop()
    thread.join(60)
    assert code == 0, text
    assert [answer.status_code for answer in answers] == [200]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz")


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
