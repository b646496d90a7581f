"""Colour jitter on batches of images, every image with its own draw.

Images are float32 RGB in [0, 255], shape ``[B, 3, S, S]``: planes, because arithmetic on them is several times
faster than on interleaved channels. Every function rounds to whole levels and clamps, as arithmetic on uint8
images does. Draws have shape ``[B]``.
"""

from __future__ import annotations

import torch


def _levels(images: torch.Tensor) -> torch.Tensor:
    """Round to whole levels in [0, 255]."""
    return images.round().clamp_(0.0, 255.0)


def _per_image(draws: torch.Tensor) -> torch.Tensor:
    return draws.reshape(-1, 1, 1, 1)


def shift_brightness(images: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Add ``deltas`` (share of the full range of 255 levels) to every channel."""
    return _levels(images + 255.0 * _per_image(deltas))


def scale_contrast(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Scale the distance of every channel to its mean over the image."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return _levels(mean + (images - mean) * _per_image(factors))


def scale_saturation(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Scale the HSV saturation, at most to 1; value and hue stay."""
    value = images.amax(dim=1, keepdim=True)
    saturation = (value - images.amin(dim=1, keepdim=True)) / value.clamp(min=1.0)
    scale = torch.minimum(_per_image(factors), 1.0 / saturation.clamp(min=1e-6))
    return _levels(value - (value - images) * scale)


def rotate_hue(images: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Rotate the HSV hue by ``deltas`` (share of the colour circle); value and saturation stay."""
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    safe = chroma.clamp(min=1.0)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    sector = sector + 6.0 * deltas.reshape(-1, 1, 1)
    offsets = torch.tensor([5.0, 3.0, 1.0], device=images.device).reshape(1, 3, 1, 1)
    phase = torch.remainder(sector.unsqueeze(1) + offsets, 6.0)
    share = torch.minimum(phase, 4.0 - phase).clamp_(0.0, 1.0)
    return _levels(value.unsqueeze(1) - chroma.unsqueeze(1) * share)
