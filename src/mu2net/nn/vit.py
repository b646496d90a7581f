"""Plain vision transformers (arXiv 2010.11929) as a backbone, with timm's names for the parameters.

Shapes: D width, A inner size of an adapter, N positions, G side of the grid of patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isqrt
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mu2net.core.anatomy import Anatomy, block_slot
from mu2net.core.component import Slot
from mu2net.errors import RootError
from mu2net.nn.assign import assign, shape_of
from mu2net.nn.attention import AttentionShape
from mu2net.nn.backbone import Normalisation, Tensors
from mu2net.nn.init import torch_generator, truncated_normal
from mu2net.nn.vit_slots import Adapter, Block, Head, PatchEmbed, Tokens

PATCH_EMBED = Slot("patch_embed", "patch_embed")
TOKENS = Slot("tokens", "tokens")
NORM = Slot("norm", "norm")


_LIMITS = {"dim": 2**16, "depth": 2**10, "heads": 2**16, "patch_size": 2**12, "image_size": 2**13, "mlp_dim": 2**18}
"""The largest geometry that is believed: beyond any transformer that was published, below what exhausts a machine."""


@dataclass(frozen=True)
class Vit:
    """A plain vision transformer: ``patch_embed``, ``tokens``, blocks with optional adapters, ``norm``, ``head``.

    Args:
        dim: Width D of the tokens.
        depth: Number of blocks.
        heads: Number of attention heads; divides ``dim``.
        patch_size: Side of a patch, in pixels.
        image_size: Default side of the square input, in pixels; a multiple of ``patch_size``.
        mlp_dim: Inner width of the MLPs.
        normalisation: How images are normalised.
        layer_scale: Whether residual branches end in a LayerScale.
        qkv_bias: Whether queries, keys and values have a bias.
        eps: Epsilon of all LayerNorms.

    Raises:
        RootError: The numbers do not go together.
    """

    dim: int
    depth: int
    heads: int
    patch_size: int
    image_size: int
    mlp_dim: int
    normalisation: Normalisation
    layer_scale: bool = False
    qkv_bias: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        for name, most in _LIMITS.items():
            if not 1 <= getattr(self, name) <= most:
                raise RootError(f"vit: {name} is {getattr(self, name)}; expected 1 to {most:,}")
        if self.dim % self.heads:
            raise RootError(f"vit: {self.heads} heads do not divide the width {self.dim}; choose another 'heads'")
        self._check_image_size(self.image_size)

    def _check_image_size(self, image_size: int) -> None:
        if image_size < 1 or image_size % self.patch_size:
            below = max(image_size // self.patch_size, 1) * self.patch_size
            raise RootError(
                f"vit: image size {image_size} is not a multiple of the patch size {self.patch_size}; "
                f"the nearest legal sizes are {below} and {below + self.patch_size}"
            )

    @property
    def is_convolutional(self) -> bool:
        """Whether activations are images: no, they are tokens."""
        return False

    def attention_shape(self, image_size: int) -> AttentionShape:
        """Return the shape of the attention for an input size.

        Args:
            image_size: Side of the square input, in pixels.
        """
        return AttentionShape((image_size // self.patch_size) ** 2 + 1, self.heads, self.dim // self.heads)

    @cached_property
    def anatomy(self) -> Anatomy:
        """The slots, and what evolution may change about them.

        Image sizes are all multiples of the patch from half to twice the default. FLOPs are those of the root as it
        runs below a head, where the last block computes the class token alone.
        """
        patch, half = self.patch_size, self.image_size // 2
        smallest = max(-(-half // patch), 1) * patch
        return Anatomy(
            backbone="vit",
            stem=(PATCH_EMBED, TOKENS),
            depth=self.depth,
            tail=(NORM,),
            image_size=self.image_size,
            image_sizes=tuple(range(smallest, 2 * self.image_size + 1, patch)),
            num_params=sum(t.numel() for slot in self.pretrained_slots for t in self._meta(slot).values()),
            flops=self._embedding_flops() + sum(self._block_flops()),
            block_flops=self._block_flops(),
        )

    def _embedding_flops(self) -> int:
        """Return what ``count_flops`` counts for the patch embedding, in closed form."""
        patches = (self.image_size // self.patch_size) ** 2
        return 2 * patches * 3 * self.patch_size**2 * self.dim

    def _block_flops(self) -> tuple[int, ...]:
        """Return what ``count_flops`` counts for every block of the root as it runs below a head, in closed form.

        A head reads the class token alone, so the last block computes no other.
        """
        tokens = (self.image_size // self.patch_size) ** 2 + 1
        linears = 4 * self.dim**2 + 2 * self.dim * self.mlp_dim
        block = 2 * tokens * (linears + 2 * tokens * self.dim)
        last_block = 2 * (linears + 2 * tokens * self.heads * self.dim)
        return (*[block] * (self.depth - 1), last_block)

    @property
    def pretrained_slots(self) -> list[Slot]:
        """The root's slots in the order of computation, without a head."""
        return [PATCH_EMBED, TOKENS, *(block_slot(index) for index in range(self.depth)), NORM]

    def config(self) -> dict[str, Any]:
        """Return JSON values from which ``backbone_from_config`` makes an equal backbone."""
        values = asdict(self)
        mean, std = self.normalisation.mean, self.normalisation.std
        return {"backbone": "vit", **values, "normalisation": {"mean": list(mean), "std": list(std)}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Vit:
        """Return the backbone that ``config`` describes.

        Args:
            config: What ``config()`` returned.

        Raises:
            RootError: It is not such a description.
        """
        values = {name: value for name, value in config.items() if name != "backbone"}
        try:
            normalisation = values.pop("normalisation")
            mean, std = (tuple(float(value) for value in normalisation[name]) for name in ("mean", "std"))
            return cls(normalisation=Normalisation(mean, std), **values)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise RootError(f"vit: configuration {dict(config)} is not complete; {error}") from error

    def module(self, slot: Slot, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return the module of a slot that uses ``tensors`` themselves as parameters (no copy).

        Sizes that may differ between components of a slot (grid, MLP, adapter, classes, LayerScale) are read from the
        tensors.

        Raises:
            RootError: The tensors do not fit the slot.
        """
        owner = f"slot {slot.name!r} of a vit of width {self.dim}"
        return assign(self._blank(slot, tensors, owner), tensors, owner)

    def _blank(self, slot: Slot, tensors: Mapping[str, torch.Tensor], owner: str) -> nn.Module:
        match slot.kind:
            case "patch_embed":
                return PatchEmbed(self.patch_size, self.dim)
            case "tokens":
                return Tokens(_size(tensors, "pos_embed", 1, owner), self.dim)
            case "block":
                inner = _size(tensors, "mlp.fc1.weight", 0, owner)
                scaled, biased = "ls1.gamma" in tensors, "attn.qkv.bias" in tensors
                return Block(self.dim, self.heads, inner, self.eps, layer_scale=scaled, qkv_bias=biased)
            case "adapter":
                return Adapter(self.dim, _size(tensors, "down.weight", 0, owner), self.eps)
            case "norm":
                return nn.LayerNorm(self.dim, eps=self.eps, device="meta")
            case "head":
                return Head(self.dim, _size(tensors, "weight", 0, owner), from_tokens=True)
        raise RootError(f"slot {slot.name!r} has kind {slot.kind!r}, which a vit does not have")

    def fresh(self, slot: Slot, seed: int, *, num_classes: int = 0, adapter_dim: int = 0) -> Tensors:
        """Return new parameters for a slot.

        A head is zero. Adapters and blocks are the identity: the layers that end their residual branches are zero.
        LayerScale starts at one, so that such a block learns at the same rate as one without it.

        Args:
            slot: The slot.
            seed: Seed of the random parameters.
            num_classes: Number of classes, for ``head``.
            adapter_dim: Inner size, for adapters.

        Raises:
            ValueError: ``num_classes`` or ``adapter_dim`` is missing.
        """
        if slot.kind == "block":
            zeros = ("attn.proj.weight", "mlp.fc2.weight")
            return {
                name: torch.zeros_like(tensor) if name in zeros else tensor
                for name, tensor in self.random(slot, seed).items()
            }
        if slot.kind == "adapter":
            return self._fresh_adapter(adapter_dim, torch_generator(seed))
        if slot.kind == "head":
            if num_classes < 1:
                raise ValueError(f"a fresh head needs num_classes; got {num_classes}")
            return {"weight": torch.zeros(num_classes, self.dim), "bias": torch.zeros(num_classes)}
        return self.random(slot, seed)

    def _fresh_adapter(self, inner: int, generator: torch.Generator) -> Tensors:
        if inner < 1:
            raise ValueError(f"a fresh adapter needs adapter_dim; got {inner}")
        return {
            "norm.weight": torch.ones(self.dim),
            "norm.bias": torch.zeros(self.dim),
            "down.weight": truncated_normal((inner, self.dim), generator),
            "down.bias": torch.zeros(inner),
            "up.weight": torch.zeros(self.dim, inner),
            "up.bias": torch.zeros(self.dim),
        }

    def random(self, slot: Slot, seed: int) -> Tensors:
        """Return random parameters for a slot of a network without pretraining.

        Weights are truncated normal (0.02; patches by fan-in), biases zero, LayerNorms and LayerScales one.

        Args:
            slot: A pretrained slot.
            seed: Seed of the random parameters.
        """
        generator, tensors = torch_generator(seed), {}
        for name, tensor in self._meta(slot).items():
            shape = tuple(tensor.shape)
            if name == "proj.weight":
                tensors[name] = truncated_normal(shape, generator, (3 * self.patch_size**2) ** -0.5)
            elif len(shape) > 1:
                tensors[name] = truncated_normal(shape, generator)
            else:
                tensors[name] = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        return tensors

    def _meta(self, slot: Slot) -> Tensors:
        """Return shapes without values: a root's tensors of a pretrained slot, on the meta device."""
        module: nn.Module
        match slot.kind:
            case "patch_embed":
                module = PatchEmbed(self.patch_size, self.dim)
            case "tokens":
                module = Tokens((self.image_size // self.patch_size) ** 2 + 1, self.dim)
            case "block":
                scaled, biased = self.layer_scale, self.qkv_bias
                module = Block(self.dim, self.heads, self.mlp_dim, self.eps, layer_scale=scaled, qkv_bias=biased)
            case "norm":
                module = nn.LayerNorm(self.dim, eps=self.eps, device="meta")
            case _:
                raise RootError(f"slot {slot.name!r} has kind {slot.kind!r}, which is not pretrained in a vit")
        return {name: tensor.detach() for name, tensor in module.state_dict().items()}

    def resample(self, slot: Slot, tensors: Mapping[str, torch.Tensor], image_size: int) -> Tensors:
        """Return copies of the parameters of ``tokens``, the position embedding fitted to another input size.

        The grid of positions is resampled bicubically (``align_corners=False``, no antialiasing); the class position
        is kept.

        Args:
            slot: The slot ``tokens``.
            tensors: Its parameters at their own input size.
            image_size: Side of the square input, in pixels.

        Raises:
            RootError: ``image_size`` is not a multiple of the patch, or the positions are not a square grid.
            ValueError: The slot does not depend on the input size.
        """
        if slot.kind != "tokens":
            raise ValueError(f"slot {slot.name!r} does not depend on the input size")
        self._check_image_size(image_size)
        positions = resample_positions(tensors["pos_embed"], image_size // self.patch_size)
        return {"cls_token": tensors["cls_token"].clone(), "pos_embed": positions}


def resample_positions(positions_1ND: torch.Tensor, side: int) -> torch.Tensor:
    """Return a position embedding for a grid of another side, shape ``[1, 1 + side·side, D]``.

    Args:
        positions_1ND: Class position first, then a square grid row by row.
        side: Side of the new grid, in patches.

    Raises:
        RootError: The positions are not a square grid.
    """
    number, dim = positions_1ND.shape[1] - 1, positions_1ND.shape[2]
    old = isqrt(number)
    if old * old != number:
        raise RootError(f"position embedding has {number} positions; expected a square grid")
    if old == side:
        return positions_1ND.clone()
    grid_1DGG = positions_1ND[:, 1:].reshape(1, old, old, dim).permute(0, 3, 1, 2)
    fitted = F.interpolate(grid_1DGG, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat((positions_1ND[:, :1], fitted.flatten(2).transpose(1, 2)), dim=1).contiguous()


def _size(tensors: Mapping[str, torch.Tensor], name: str, axis: int, owner: str) -> int:
    shape = shape_of(tensors, name, owner)
    if len(shape) <= axis or shape[axis] < 1:
        raise RootError(f"{owner}: tensor {name!r} has shape {list(shape)}, which does not fit")
    return shape[axis]
