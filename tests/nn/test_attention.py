import pytest
import torch
from torch.nn import functional as F

from mu2net.errors import UnknownNameError
from mu2net.nn.attention import choose_kernel, explicit_attention, select_kernel


def test_the_explicit_kernel_is_exact():
    queries, keys, values = torch.randn(3, 2, 4, 17, 8, generator=torch.Generator().manual_seed(0))
    expected = F.scaled_dot_product_attention(queries.double(), keys.double(), values.double())
    assert torch.allclose(explicit_attention(queries, keys, values).double(), expected, atol=1e-6)


def test_the_rule_is_explicit_under_bfloat16_on_a_cpu_only():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_kernel(cpu, torch.bfloat16) == "explicit"
    assert choose_kernel(cpu, torch.float32) == "sdpa"
    assert choose_kernel(cuda, torch.bfloat16) == "sdpa"


def test_the_kernel_can_be_selected_for_a_whole_chain(make_vit, images, monkeypatch):
    chain = make_vit().chain()
    calls = []
    monkeypatch.setattr(
        "mu2net.nn.attention.explicit_attention", lambda q, k, v: calls.append(1) or explicit_attention(q, k, v)
    )
    select_kernel(chain, "explicit")
    explicit = chain(images)
    assert len(calls) == 3
    select_kernel(chain, "sdpa")
    assert torch.allclose(chain(images), explicit, atol=1e-5)
    assert len(calls) == 3


def test_auto_follows_autocast(make_vit, images, monkeypatch):
    chain, calls = make_vit().chain(), []
    monkeypatch.setattr(
        "mu2net.nn.attention.explicit_attention", lambda q, k, v: calls.append(q.dtype) or explicit_attention(q, k, v)
    )
    chain(images)
    assert calls == []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chain(images)
    assert calls == [torch.bfloat16] * 3


def test_an_unknown_kernel_is_an_error(make_vit):
    with pytest.raises(UnknownNameError, match="unknown attention kernel 'explicitt'; did you mean 'explicit'"):
        select_kernel(make_vit().chain(), "explicitt")
