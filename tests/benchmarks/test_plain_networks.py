from __future__ import annotations

import torch

from benchmarks.children import plain_network, propose
from benchmarks.plain_networks import PlainVit, freeze_all_but


def test_the_geometry_is_read_from_the_parameters(place):
    network = plain_network(place, propose(place, "linear", 1, 0, augments=False)[0].job)
    assert isinstance(network, PlainVit)
    assert len(network.blocks) == 3
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_only_what_trains_requires_gradients(place):
    network = plain_network(place, propose(place, "freeze:2", 1, 0, augments=False)[0].job)
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert names == {name for name, _ in network.named_parameters() if name.startswith(("blocks.2.", "norm.", "head."))}
    freeze_all_but(network, {"head.bias"})
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["head.bias"]
