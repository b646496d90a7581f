from contextlib import contextmanager

import pytest
import torch

from mu2net.nn import frozen
from mu2net.nn.frozen import Derived
from mu2net.nn.precision import autocast


def test_a_value_of_frozen_tensors_is_computed_once():
    derived, sources, computed = Derived(), [torch.ones(3), torch.zeros(3)], []

    def compute():
        computed.append(1)
        return sources[0] * 2 + sources[1]

    assert derived.get(sources, compute) is derived.get(sources, compute)
    assert derived.get(sources, compute).tolist() == [2, 2, 2]
    assert len(computed) == 1


def test_a_value_of_tensors_of_which_one_trains_is_computed_every_time_and_has_gradients():
    derived, frozen, trained = Derived(), torch.ones(3), torch.ones(3, requires_grad=True)
    first, second = (derived.get([frozen, trained], lambda: frozen + trained * 2) for _ in range(2))
    assert first is not second
    (first + second).sum().backward()
    assert trained.grad.tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.add_(1),
        lambda tensor: torch.ones(3) * 2,
        lambda tensor: tensor.double() + 1,
        lambda tensor: tensor.add_(1).requires_grad_(True),
    ],
)
def test_a_value_follows_what_it_is_computed_from(change):
    derived, tensor = Derived(), torch.ones(3)
    derived.get([tensor], lambda: tensor * 2)
    changed = change(tensor)
    assert derived.get([changed], lambda: changed * 2).tolist() == [4, 4, 4]


def test_a_value_depends_on_its_key():
    derived, tensor = Derived(), torch.ones(1)
    assert [derived.get([tensor], lambda size=size: tensor * size, size).item() for size in (1, 2, 1)] == [1, 2, 1]


def test_a_value_that_inference_computed_serves_autograd():
    derived, kernel = Derived(), torch.ones(2, 2)
    with torch.inference_mode():
        derived.get([kernel], lambda: kernel * 2)
    entering = torch.ones(2, requires_grad=True)
    (derived.get([kernel], lambda: kernel * 3) @ entering).sum().backward()
    assert entering.grad.tolist() == [4, 4]


def test_a_value_of_inference_tensors_is_kept():
    with torch.inference_mode():
        tensor = torch.ones(2)
    derived = Derived()
    assert derived.get([tensor], lambda: tensor * 2) is derived.get([tensor], lambda: tensor * 2)


@pytest.mark.parametrize("is_trainable", [False, True])
def test_a_value_is_float32_also_under_autocast(is_trainable):
    derived, tensor = Derived(), torch.full((1, 1), 1 + 2**-20).requires_grad_(is_trainable)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert derived.get([tensor], lambda: tensor @ torch.ones(1, 1)).item() == 1 + 2**-20


def test_a_value_is_that_of_its_key_whatever_another_thread_asks(monkeypatch):
    """The other one asks between the moment when a value is kept and the one when it is returned."""
    derived, tensor, others = Derived(), torch.ones(1), [lambda: derived.get([tensor], lambda: tensor * 2, "other")]

    @contextmanager
    def interrupted(*given):
        with autocast(*given):
            yield
        if others:
            others.pop()()

    monkeypatch.setattr(frozen, "autocast", interrupted)
    assert derived.get([tensor], lambda: tensor * 3, "mine").item() == 3
    assert not others
