"""PatchDropout: a training step sees some of an image's patches (arXiv 2208.07220).

A step costs less with fewer tokens, and an image that comes again shows other patches: activations that were kept for
many passes are not learned by heart. Predictions see all patches.

Shapes: B batch, N tokens (class token first), K patches that are kept, D width.
"""

from __future__ import annotations

import numpy as np
import torch

from mu2net.core.rng import generator
from mu2net.errors import ConfigError
from mu2net.train.batches import Key


def count_kept(patches: int, rate: float) -> int:
    """Return how many patches of an image are kept, at least one.

    Args:
        patches: Patches of an image, at least one.
        rate: Share of them that is dropped, in [0, 1[.

    Raises:
        ConfigError: The rate lies outside its domain.
    """
    if not 0.0 <= rate < 1.0:
        raise ConfigError(f"patch_drop_rate is {rate}; expected a share of the patches, 0 or more and less than 1")
    return max(1, round((1.0 - rate) * patches))


def draw_tokens(batch: int, patches: int, rate: float, key: Key) -> torch.Tensor:
    """Return which tokens every image keeps, ascending, shape ``[B, K + 1]``: the class token, and patches by chance.

    Args:
        batch: Number B of images.
        patches: Patches of an image.
        rate: Share of them that is dropped, in [0, 1[.
        key: What the draw is for; equal keys give equal tokens.

    Raises:
        ConfigError: The rate lies outside its domain.
    """
    kept = count_kept(patches, rate)
    order_BP = generator(*key, "patches").random((batch, patches), dtype=np.float32).argsort(axis=1, kind="stable")
    chosen_BK = np.sort(order_BP[:, :kept], axis=1) + 1
    return torch.from_numpy(np.pad(chosen_BK, ((0, 0), (1, 0))))


def keep_tokens(tokens_BND: torch.Tensor, chosen_BK: torch.Tensor) -> torch.Tensor:
    """Return some tokens of every image, shape ``[B, K, D]``.

    Args:
        tokens_BND: All tokens.
        chosen_BK: Which of them, int64.
    """
    chosen_BK1 = chosen_BK.to(tokens_BND.device).unsqueeze(-1)
    return tokens_BND.gather(1, chosen_BK1.expand(-1, -1, tokens_BND.shape[-1]))
