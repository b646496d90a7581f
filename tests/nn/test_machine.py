from __future__ import annotations

import platform

import pytest
import torch

from mu2net.nn import machine
from mu2net.nn.machine import describe_machine, instructions, processor

CPU = torch.device("cpu")


@pytest.fixture
def cpu_info(tmp_path, monkeypatch):
    """Return a function that pretends what the system says about its processor."""

    def pretend(text):
        file = tmp_path / "cpuinfo"
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(machine, "_CPU_INFO", file)
        machine.cpu_info.cache_clear()

    yield pretend
    machine.cpu_info.cache_clear()


def test_two_machines_of_one_name_differ_in_their_instructions(cpu_info):
    found = []
    for flags in ("fma avx2", "avx2 fma", "fma avx2 amx_tile"):
        cpu_info(f"processor\t: 0\nmodel name\t: A Chip\nflags\t\t: {flags}\nprocessor\t: 1\nmodel name\t: Other\n")
        found.append((processor(), instructions()))
    assert found[0] == found[1]
    assert {name for name, _ in found} == {"A Chip"}
    assert found[2] != found[0]


def test_restricted_libraries_are_another_machine(monkeypatch):
    before = describe_machine(CPU)
    assert describe_machine(CPU) == before
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    after = describe_machine(CPU)
    assert [name for name in before if before[name] != after[name]] == ["instructions"]


@pytest.mark.parametrize("text", [None, "Features\t: asimd\n"])
def test_a_system_that_does_not_name_its_processor(cpu_info, text):
    cpu_info(text)
    assert processor() == (platform.processor() or platform.machine())
    assert instructions()


def test_software_and_device_are_named(monkeypatch):
    here = describe_machine(CPU)
    assert (here["torch"], here["device"]) == (str(torch.__version__), "cpu")
    monkeypatch.setattr(torch, "__version__", "1.0")
    monkeypatch.setattr(torch.__config__, "show", lambda: "another build")
    there = describe_machine(torch.device("mps"))
    assert {name for name in here if here[name] != there[name]} == {"torch", "torch_build", "device"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A Card")
    assert describe_machine(torch.device("cuda"))["device"] == "A Card"
