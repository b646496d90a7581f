import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mu2net.core.anatomy import HEAD, adapter_slot
from mu2net.nn.attention import select_kernel, use_kernel
from mu2net.nn.chain import build_chain
from mu2net.nn.efficientnet_lite0 import STEM, EfficientNetLite0
from mu2net.nn.flops import count_flops, count_parameters


def test_flops_of_a_transformer_are_those_of_its_matrix_products(make_vit):
    network = make_vit(dim=48, depth=2, heads=3, patch_size=4, image_size=16, mlp_dim=96, classes=5)
    tokens, dim, inner = 17, 48, 96
    linears = 3 * dim * dim + dim * dim + 2 * dim * inner
    all_tokens = tokens * (linears + 2 * tokens * dim)
    class_token = linears + 2 * tokens * 3 * dim
    expected = 2 * (16 * 48 * dim + all_tokens + class_token + dim * 5)
    assert count_flops(network.backbone, network.components, 16) == expected
    assert network.backbone.anatomy.block_flops == (2 * all_tokens, 2 * class_token)


def test_without_a_head_every_token_of_the_last_block_counts(make_vit):
    network = make_vit(dim=48, depth=2, heads=3, patch_size=4, image_size=16, mlp_dim=96)
    last = 17 * (4 * 48 * 48 + 2 * 48 * 96 + 2 * 17 * 48)
    shorter = [pair for pair in network.components[:-1] if pair[0].name != "block_01"]
    counted = [count_flops(network.backbone, parts, 16) for parts in (network.components[:-1], shorter)]
    assert counted[0] - counted[1] == 2 * last


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
def test_the_attention_kernel_in_use_does_not_change_the_flops(make_vit, kernel):
    network = make_vit()
    with use_kernel(kernel):
        counted = count_flops(network.backbone, network.components, 16)
    assert counted == network.backbone.anatomy.flops + 2 * 48 * 5


def test_an_adapter_adds_its_two_products(make_vit):
    network = make_vit()
    grown = list(network.components)
    grown.insert(2, (adapter_slot(0), network.backbone.fresh(adapter_slot(0), 0, adapter_dim=8)))
    added = count_flops(network.backbone, grown, 16) - count_flops(network.backbone, network.components, 16)
    assert added == 2 * 17 * 2 * 48 * 8


def test_values_do_not_matter(make_vit):
    network = make_vit()
    before = count_flops(network.backbone, network.components, 16)
    for _, tensors in network.components:
        for tensor in tensors.values():
            tensor.fill_(torch.nan)
    assert count_flops(network.backbone, network.components, 16) == before


def test_the_arithmetic_around_does_not_matter(make_vit):
    network = make_vit()
    with torch.autocast("cpu", torch.bfloat16):
        assert count_flops(network.backbone, network.components, 16) == network.backbone.anatomy.flops + 2 * 48 * 5


def test_pytorch_counts_the_same(make_vit):
    network = make_vit()
    counter = FlopCounterMode(display=False)
    chain = build_chain(network.backbone, network.components)
    select_kernel(chain, "explicit")
    with torch.no_grad(), counter:
        chain(torch.zeros(1, 3, 16, 16))
    assert count_flops(network.backbone, network.components, 16) == counter.get_total_flops()


@pytest.mark.parametrize("classes", [2, 100])
def test_statistics_are_no_parameters(classes):
    backbone = EfficientNetLite0()
    stem = {
        "conv.weight": torch.zeros(32, 3, 3, 3),
        **{f"bn.{name}": torch.ones(32) for name in ("weight", "bias", "running_mean", "running_var")},
    }
    assert count_parameters(backbone, STEM, stem) == 32 * 27 + 64
    assert count_parameters(backbone, HEAD, backbone.fresh(HEAD, 0, num_classes=classes)) == classes * 1281
