from dataclasses import dataclass

import pytest
import torch

from mu2net.core.anatomy import HEAD, Slot
from mu2net.nn.backbone import Normalisation, Tensors
from mu2net.nn.chain import Chain, build_chain
from mu2net.nn.vit import Vit

HALF = Normalisation((127.5,) * 3, (127.5,) * 3)


@dataclass(frozen=True)
class Network:
    backbone: Vit
    components: list[tuple[Slot, Tensors]]

    def chain(self, **options) -> Chain:
        return build_chain(self.backbone, self.components, **options)


@pytest.fixture
def make_vit():
    """Return a function that makes a small random transformer with a random head."""

    def make(*, classes: int = 5, noise: float = 0.3, **changes) -> Network:
        values = {"dim": 48, "depth": 3, "heads": 3, "patch_size": 4, "image_size": 16, "mlp_dim": 96}
        backbone = Vit(normalisation=HALF, **{**values, **changes})
        generator = torch.Generator().manual_seed(1)
        components = [(slot, backbone.random(slot, index)) for index, slot in enumerate(backbone.pretrained_slots)]
        components.append((HEAD, backbone.fresh(HEAD, 0, num_classes=classes)))
        for _, tensors in components:
            for tensor in tensors.values():
                tensor.add_(noise * torch.randn(tensor.shape, generator=generator) * tensor.shape[-1] ** -0.5)
        return Network(backbone, components)

    return make


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def timm_names(components):
    """Return a checkpoint with timm's names from components."""
    state = {}
    for slot, tensors in components:
        if slot.kind == "block":
            prefix = f"blocks.{int(slot.name.removeprefix('block_'))}."
        else:
            prefix = {"patch_embed": "patch_embed.", "tokens": "", "norm": "norm.", "head": "head."}[slot.kind]
        state |= {prefix + name: tensor for name, tensor in tensors.items()}
    return state


@pytest.fixture
def checkpoint(make_vit):
    """Return a function that makes a network and its checkpoint with timm's names; the width gives the heads."""

    def make(**changes):
        network = make_vit(**{"dim": 192, "heads": 3, "depth": 2, "mlp_dim": 64, **changes})
        return network, timm_names(network.components)

    return make
