"""Random crops, flips and antialiased resizing as batched matrix products: no loop over images.

Shapes: B images, H and W stored pixels, S output pixels, C = 3 channels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from mu2net.data.task import Float32Array, UInt8Array

_ATTEMPTS = 10

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def sample_boxes(rng: np.random.Generator, aspects: Float32Array, area_min: float, aspect_min: float) -> Float64Array:
    """Draw one crop box per image, in shares of the image's width and height.

    Boxes are drawn as on the original images: the area is uniform in [``area_min``, 1], the box's own width / height
    in pixels is log-uniform in [``aspect_min``, 1 / ``aspect_min``], and the place is uniform. Images are stored
    squeezed to squares, so a box of aspect r on an original of aspect a has the aspect r / a here. A box that does
    not fit is drawn again; after ten attempts the largest centred box with an allowed aspect is taken.

    Args:
        rng: Source of the draws; their number depends on the number of images alone.
        aspects: Width / height of every original image, shape ``[B]``.
        area_min: Smallest share of the area, in ]0, 1].
        aspect_min: Smallest width / height of a box, in ]0, 1].

    Returns:
        Boxes (left, top, right, bottom) in [0, 1], shape ``[B, 4]``.
    """
    count = len(aspects)
    areas = rng.uniform(area_min, 1.0, (_ATTEMPTS, count))
    limit = math.log(1.0 / aspect_min)
    ratios = np.exp(rng.uniform(-limit, limit, (_ATTEMPTS, count)))
    places = rng.random((2, count))
    widths = np.sqrt(areas * ratios / aspects)
    heights = np.sqrt(areas * aspects / ratios)
    fits = (widths <= 1.0) & (heights <= 1.0)
    first, images = fits.argmax(axis=0), np.arange(count)
    found = fits.any(axis=0)
    allowed = np.clip(aspects, aspect_min, 1.0 / aspect_min) / aspects
    width = np.where(found, widths[first, images], np.minimum(1.0, allowed))
    height = np.where(found, heights[first, images], np.minimum(1.0, 1.0 / allowed))
    left = np.where(found, places[0], 0.5) * (1.0 - width)
    top = np.where(found, places[1], 0.5) * (1.0 - height)
    return np.stack([left, top, left + width, top + height], axis=1)


def full_boxes(count: int) -> Float64Array:
    """Return the whole image as a box, ``count`` times, shape ``[count, 4]``."""
    return np.tile(np.array([0.0, 0.0, 1.0, 1.0]), (count, 1))


def resize_weights(start: Float64Array, stop: Float64Array, source: int, target: int) -> torch.Tensor:
    """Return the triangle-filter weights that resize one side of every image.

    The filter is as wide as an output pixel when an image shrinks (antialiasing) and one source pixel when it grows,
    as in Pillow's ``BILINEAR``. Pixels next to the box contribute, as there.

    Args:
        start: Where every image's box begins, as a share of the side, shape ``[B]``.
        stop: Where it ends, shape ``[B]``; smaller than ``start`` mirrors the image.
        source: Stored pixels along the side.
        target: Output pixels along the side.

    Returns:
        Float32 weights of shape ``[B, target, source]``; every row sums to 1.
    """
    step = (stop - start)[:, None] * source / target
    centres = start[:, None] * source + (np.arange(target) + 0.5) * step
    reach = np.maximum(np.abs(step), 1.0)
    pixels = torch.arange(source, dtype=torch.float32) + 0.5
    scaled_BT1 = torch.from_numpy((centres / reach).astype(np.float32)).unsqueeze(2)
    shrink_B11 = torch.from_numpy((1.0 / reach).astype(np.float32)).unsqueeze(2)
    weights = (pixels * shrink_B11).sub(scaled_BT1).abs_().neg_().add_(1.0).clamp_(min=0.0)
    return weights / weights.sum(dim=2, keepdim=True)


def crop_and_resize(images: UInt8Array, boxes: Float64Array, mirrored: BoolArray, side: int) -> torch.Tensor:
    """Cut a box out of every image, mirror some, and resize to squares (bilinear, antialiased).

    Args:
        images: RGB images, shape ``[B, H, W, 3]``.
        boxes: (left, top, right, bottom) in [0, 1], shape ``[B, 4]``.
        mirrored: Which images are flipped left to right, shape ``[B]``.
        side: Side of the result S, in pixels.

    Returns:
        Float32 images in [0, 255], not rounded, shape ``[B, S, S, 3]``.
    """
    count, height, width, channels = images.shape
    left = np.where(mirrored, boxes[:, 2], boxes[:, 0])
    right = np.where(mirrored, boxes[:, 0], boxes[:, 2])
    weights_BSH = resize_weights(boxes[:, 1], boxes[:, 3], height, side)
    weights_BSW = resize_weights(left, right, width, side)
    rows_BHX = torch.from_numpy(images.astype(np.float32)).reshape(count, height, width * channels)
    shrunk_BSWC = torch.bmm(weights_BSH, rows_BHX).reshape(count, side, width, channels)
    columns_BWX = shrunk_BSWC.transpose(1, 2).reshape(count, width, side * channels)
    resized_BTSC = torch.bmm(weights_BSW, columns_BWX).reshape(count, side, side, channels)
    return resized_BTSC.transpose(1, 2).contiguous()
