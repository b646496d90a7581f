import threading

import pytest
import torch
from torch.nn import functional as F

from mu2net.errors import UnknownNameError
from mu2net.nn.attention import Attention, attend, choose_kernel, explicit_attention, select_kernel, use_kernel
from mu2net.nn.roots import load_root


@pytest.fixture
def used(monkeypatch):
    """The kernels that compute, in their order."""
    kernels = []

    def watch(queries, keys, values, kernel):
        kernels.append(kernel)
        return attend(queries, keys, values, kernel)

    monkeypatch.setattr("mu2net.nn.attention.attend", watch)
    return kernels


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
    assert len(calls) == 2
    select_kernel(chain, "sdpa")
    assert torch.allclose(chain(images), explicit, atol=1e-5)
    assert len(calls) == 2


def test_auto_follows_autocast(make_vit, images, monkeypatch):
    chain, calls = make_vit().chain(), []
    monkeypatch.setattr(
        "mu2net.nn.attention.explicit_attention", lambda q, k, v: calls.append(q.dtype) or explicit_attention(q, k, v)
    )
    chain(images)
    assert calls == []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chain(images)
    assert calls == [torch.bfloat16] * 2


@pytest.mark.parametrize("heads", [1, 3, 6])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_the_class_token_alone_gets_what_it_gets_among_all(heads, qkv_bias):
    generator = torch.Generator().manual_seed(0)
    attention = Attention(24, heads, qkv_bias=qkv_bias).to_empty(device="cpu").double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    tokens = torch.randn(4, 10, 24, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 1, 24, generator=generator, dtype=torch.float64)
    alone, together = attention.forward_class_token(tokens[:, :1], tokens), attention(tokens)[:, :1]
    torch.testing.assert_close(alone, together, atol=1e-12, rtol=0)
    gradients, expected = (
        torch.autograd.grad((output * weights).sum(), [tokens, *attention.parameters()]) for output in (alone, together)
    )
    for gradient, its in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, its, atol=1e-12, rtol=0)


def test_an_unknown_kernel_is_an_error(make_vit):
    with pytest.raises(UnknownNameError, match="unknown attention kernel 'explicitt'; did you mean 'explicit'"):
        select_kernel(make_vit().chain(), "explicitt")


def test_a_kernel_is_used_inside_its_block_only(make_vit, images, used):
    chain = make_vit(depth=2).chain()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with use_kernel("sdpa"):
            chain(images)
            with use_kernel("explicit"):
                chain(images)
            chain(images)
        chain(images)
    assert used == ["sdpa", "explicit", "sdpa", "explicit"]
    with pytest.raises(RuntimeError, match="ends the block"), use_kernel("explicit"):
        raise RuntimeError("ends the block")
    chain(images)
    assert used[4:] == ["sdpa"]


def test_a_kernel_that_was_selected_for_a_module_wins(make_vit, images, used):
    chain = make_vit(depth=2).chain()
    select_kernel(chain, "sdpa")
    with use_kernel("explicit"):
        chain(images)
    assert used == ["sdpa"]


def test_threads_that_share_modules_each_use_their_own_kernel(make_vit, images):
    chain, meeting, found = make_vit().chain(), threading.Barrier(3, timeout=60), {}
    expected = {}
    for kernel in ("explicit", "sdpa"):
        with use_kernel(kernel):
            expected[kernel] = chain(images)
    assert not torch.equal(expected["explicit"], expected["sdpa"])

    def run(kernel):
        with use_kernel(kernel):
            meeting.wait()
            found[kernel] = chain(images)
            meeting.wait()

    threads = [threading.Thread(target=run, args=(kernel,)) for kernel in expected]
    for thread in threads:
        thread.start()
    meeting.wait()
    outside = chain(images)
    meeting.wait()
    for thread in threads:
        thread.join()
    assert {kernel: torch.equal(found[kernel], expected[kernel]) for kernel in expected} == dict.fromkeys(
        expected, True
    )
    assert torch.equal(outside, expected["sdpa"])


def test_a_backbone_tells_the_shape_of_its_attention(make_vit, images, monkeypatch):
    shapes = []

    def watch(self, queries, keys, values):
        shapes.append(tuple(keys.shape))
        return watched(self, queries, keys, values)

    watched = Attention._attend
    monkeypatch.setattr(Attention, "_attend", watch)
    network = make_vit(depth=2)
    network.chain()(images)
    shape = network.backbone.attention_shape(16)
    assert shapes == [(len(images), shape.heads, shape.tokens, shape.width)]
    assert network.backbone.attention_shape(32).tokens == 65
    assert load_root("efficientnet-lite0").backbone.attention_shape(224) is None
