"""Two images in one: a training step that shows parts of both, and asks for both classes (CutMix, arXiv 1905.04899).

What enters the trained slots is read from the cache many times. In other company every time, an image is not learned by
heart. Parts are the patches of a vision transformer, or the rows of an image or a feature map; they keep their places.
Predictions see one image.

Shapes: B batch, N tokens (class token first), D width, C channels or classes, H and W height and width.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from mu2net.core.rng import generator
from mu2net.errors import ConfigError
from mu2net.train.batches import Key


def draw_replaced(parts: int, rate: float, key: Key) -> int:
    """Return how many parts of every image a step replaces: 0 in a step that mixes nothing.

    In a step that mixes, the share is uniform in [0, 1].

    Args:
        parts: Parts of an image that the step sees; 0 where it has none.
        rate: Share of the steps that mix, in [0, 1].
        key: What the draw is for; equal keys give equal numbers.

    Raises:
        ConfigError: The rate lies outside its domain.
    """
    if not 0.0 <= rate <= 1.0:
        raise ConfigError(f"opt_mix_rate is {rate}; expected a share of the steps, 0 to 1")
    rng = generator(*key, "mix")
    return round(float(rng.random()) * parts) if rng.random() < rate else 0


def mix_tokens(tokens_BND: torch.Tensor, replaced: int) -> torch.Tensor:
    """Return tokens of two images each, shape ``[B, N, D]``: the first patches are those of the image before.

    What the class token has gathered of both is averaged, with the shares that they have of the patches.

    Args:
        tokens_BND: Tokens; patches ascend, so that the first ones are the upper part of what is seen of an image.
        replaced: How many patches are replaced, 0 to N - 1.
    """
    others_BND = tokens_BND.roll(1, 0)
    share = replaced / (tokens_BND.shape[1] - 1)
    class_B1D = torch.lerp(tokens_BND[:, :1], others_BND[:, :1], share)
    return torch.cat((class_B1D, others_BND[:, 1 : 1 + replaced], tokens_BND[:, 1 + replaced :]), dim=1)


def mix_parts(entering_B: torch.Tensor, replaced: int) -> torch.Tensor:
    """Return maps or patches of two images each, as they were shaped: the first parts are those of the image before.

    Args:
        entering_B: Images or feature maps ``[B, C, H, W]``, whose parts are rows, or patches ``[B, N, D]`` without a
            class token; in any memory format, which is kept.
        replaced: How many parts are replaced.
    """
    mixed_B, place = entering_B.clone(), entering_B.dim() - 2
    mixed_B.narrow(place, 0, replaced).copy_(entering_B.narrow(place, 0, replaced).roll(1, 0))
    return mixed_B


def mixed_cross_entropy(
    logits_BC: torch.Tensor, labels_B: torch.Tensor, others_B: torch.Tensor, share: float
) -> torch.Tensor:
    """Return the mean loss of images that were mixed.

    Args:
        logits_BC: Logits, float32.
        labels_B: Class indices.
        others_B: Class indices of the images before them in the batch.
        share: Share of the parts that are theirs, in [0, 1]; 0 for images that were not mixed.
    """
    own = F.cross_entropy(logits_BC, labels_B)
    return own if not share else torch.lerp(own, F.cross_entropy(logits_BC, others_B), share)
