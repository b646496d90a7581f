"""A search that is killed ends, once it is run again, with the bits of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mu2net.store.store import Store
from mu2net.system import System
from tests.processes import children_of, is_running, wait_until

OPTIONS = {
    "agent": "mu2net",
    "seed": 3,
    "generation_size": 2,
    "batch_size": 16,
    "num_validations": 2,
    "examples_per_validation": 48,
    "hparams": {"opt_lr": 0.1},
    "attention": "sdpa",  # a kernel that is measured may be another one in the other system, and round otherwise
    "threads": 1,
}

KILLED_AGAIN_AND_AGAIN = """
import json, os, signal, sys
from mu2net.search.executor import LocalExecutor
from mu2net.search.images import open_activations
from mu2net.store import recording
from mu2net.store.files import Files
from mu2net.system import System, evolution

directory, options = sys.argv[1], json.loads(sys.argv[2])


class Here:
    def __init__(self, store, task, workers, cache_limit):
        self.executor = LocalExecutor(store, open_activations(store, cache_limit))

    def __enter__(self):
        return self.executor

    def __exit__(self, *_):
        pass


evolution.ProcessExecutor = Here


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def at_event(kind, number):
    def arm():
        left = [number]

        def observe(event):
            if type(event).__name__ == kind:
                left[0] -= 1
                if not left[0]:
                    die()

        return observe
    return arm


def inside(name):
    def arm():
        original = getattr(recording, name)
        setattr(recording, name, lambda *arguments: (original(*arguments), die()))
    return arm


def before(name):
    return lambda: setattr(recording, name, die)


def half_way_through_a_file():
    original = Files.write
    Files.write = lambda self, descriptor, data: (original(self, descriptor, data[: len(data) // 2]), die())


MOMENTS = [
    at_event("CycleStarted", 1),
    at_event("IntervalDone", 2),
    at_event("ChildRecorded", 1),
    at_event("ChildRecorded", 1),
    half_way_through_a_file,
    before("add_child"),
    inside("add_child"),
    at_event("ChildRecorded", 2),
    at_event("IntervalDone", 1),
    at_event("ChildRecorded", 1),
    at_event("Publishing", 1),
    at_event("Preparing", 1),
    half_way_through_a_file,
    before("publish"),
    inside("publish"),
]

for arm in MOMENTS:
    child = os.fork()
    if not child:
        try:
            observer = arm()
            System.open(directory).evolve("one", children=5, observer=observer or (lambda event: None), **options)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    with System.open(directory) as system:
        state = system.verify()
        print(json.dumps([os.waitstatus_to_exitcode(status), system.task("one").children, state.damages]), flush=True)
System.open(directory).evolve("one", children=5, **options)
"""


def run(code, *arguments, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True, **options)


def outcome(directory):
    store = Store.open(directory)
    return store.live_path("one").chain, [
        (child.path.id, child.path.digests, child.path.metrics.validations, child.is_kept)
        for child in store.children("one")
    ]


def test_killed_at_every_kind_of_moment(copy_of):
    killed, whole = copy_of("killed"), copy_of("whole")
    System.open(whole).evolve("one", children=5, **OPTIONS)
    process = run(KILLED_AGAIN_AND_AGAIN, killed, json.dumps(OPTIONS), stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    steps = [json.loads(line) for line in output.splitlines()]
    assert [code for code, _, _ in steps] == [-signal.SIGKILL] * len(steps)
    assert [children for _, children, _ in steps] == [0, 0, 1, 2, 2, 2, 2, 4, 4, 5, 5, 5, 5, 5, 5]
    assert [damages for _, _, damages in steps] == [[]] * len(steps)
    assert outcome(killed) == outcome(whole)
    assert [cycle.state for cycle in Store.open(killed).cycles("one")] == ["published"]
    assert System.open(killed).verify().is_intact


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the processes of others are found in /proc, which is not here"
)

COMMAND = "from mu2net.cli import main; main()"


@pytest.mark.thorough
@needs_proc
def test_the_command_with_worker_processes(copy_of):
    killed, whole = copy_of("killed"), copy_of("whole")
    System.open(whole).evolve("one", children=6, **OPTIONS)
    store = Store.open(killed)
    arguments = [
        *("--system", killed, "evolve", "one", "--children", "6", "--workers", "2", "--seed", "3", "--threads", "1"),
        *("--generation-size", "2", "--batch-size", "16", "--num-validations", "2"),
        *("--examples-per-validation", "48", "--set", "opt_lr=0.1", "--agent", "mu2net"),
        *("--attention", OPTIONS["attention"]),
    ]
    process = run(COMMAND, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: store.history("one") or process.poll() is not None)
    (server,) = children_of(process.pid)
    workers = children_of(server)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 1 <= len(store.history("one")) < 6
    assert store.live_path("one") is None
    assert len(workers) == 2
    wait_until(lambda: not any(is_running(pid) for pid in (server, *workers)))
    again = run(COMMAND, *arguments, "--workers", "1", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output
    assert outcome(killed) == outcome(whole)


READER = """
import json, sys
import mu2net
from mu2net.errors import LockedError

system = mu2net.System.open(sys.argv[1])
before = system.tasks()
answer = {
    "evolved": [task.path_id is not None for task in before],
    "label": system.predict("two", [sys.argv[2]])[0].label,
    "intact": system.verify().is_intact,
    "children": len(system.history("one")),
}
try:
    system.evolve("one", children=1)
except LockedError as error:
    answer["refused"] = str(error)
print(json.dumps(answer))
"""


def test_others_may_read_but_not_evolve_the_task_meanwhile(system, small, template):
    system.evolve("two", children=2, **small)
    image = template.parent / "two" / "test" / "red" / "0.png"
    answers = []

    def observe(event):
        if type(event).__name__ == "ChildRecorded" and not answers:
            process = run(READER, system.directory, image, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            output, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors
            answers.append(json.loads(output))

    system.evolve("one", children=2, observer=observe, **small)
    (answer,) = answers
    refused = answer.pop("refused")
    assert answer == {
        "evolved": [False, True],
        "label": system.predict("two", [image])[0].label,
        "intact": True,
        "children": 1,
    }
    assert f"is being evolved by process {os.getpid()} on " in refused
    assert " since 2" in refused
