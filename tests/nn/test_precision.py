import pytest
import torch

from mu2net.errors import ConfigError, UnknownNameError
from mu2net.nn.precision import autocast, choose_device, choose_precision, has_bfloat16

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture
def hardware(monkeypatch):
    """Return a function that pretends what the machine has."""

    def pretend(*, cuda=False, mps=False, bfloat16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)

    return pretend


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_the_fastest_device(hardware, cuda, mps, chosen):
    hardware(cuda=cuda, mps=mps)
    assert choose_device("auto").type == chosen
    assert choose_device("cpu") == CPU


def test_a_device_that_is_not_there_is_an_error(hardware):
    hardware(mps=True)
    with pytest.raises(ConfigError, match="device 'cuda' is not available; PyTorch finds here: mps, cpu"):
        choose_device("cuda")
    with pytest.raises(UnknownNameError, match="unknown device 'cudda'; did you mean 'cuda'"):
        choose_device("cudda")


@pytest.mark.parametrize(
    ("bfloat16", "device", "chosen"),
    [
        (True, CPU, "bfloat16"),
        (False, CPU, "float32"),
        (True, CUDA, "bfloat16"),
        (False, CUDA, "float32"),
        (True, MPS, "float32"),
    ],
)
def test_auto_takes_the_fastest_precision(hardware, bfloat16, device, chosen):
    hardware(bfloat16=bfloat16)
    assert choose_precision("auto", device) == chosen


def test_a_precision_on_request(hardware):
    hardware(bfloat16=False)
    assert choose_precision("bfloat16", CPU) == "bfloat16"
    assert choose_precision("float32", CUDA) == "float32"
    for device in (CUDA, MPS):
        with pytest.raises(ConfigError, match="does not compute in bfloat16"):
            choose_precision("bfloat16", device)
    with pytest.raises(UnknownNameError, match="did you mean 'bfloat16'"):
        choose_precision("bf16", CPU)


def test_the_real_machine_answers():
    assert isinstance(has_bfloat16(CPU), bool)
    assert not has_bfloat16(MPS)


def test_autocast_computes_in_the_precision_also_when_nested():
    matrix = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
        with autocast(CPU, "float32"):
            assert (matrix @ matrix).dtype == torch.float32
        assert (matrix @ matrix).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert (matrix @ matrix).dtype == torch.float32
    with autocast(torch.device("meta"), "bfloat16"):
        pass
