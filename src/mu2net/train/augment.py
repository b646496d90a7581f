"""The image pipeline: what happens between the stored pixels and the network.

Training: crop, resize, flip, colour jitter, all as batched tensor operations on uint8 images. Validation and test:
resize only. The random draws of a batch come from a generator keyed by the batch, so a resumed or repeated run sees
identical batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from mu2net.core.path import Value
from mu2net.data.task import Float32Array, Int64Array, Split, UInt8Array
from mu2net.errors import ConfigError
from mu2net.nn.backbone import Normalisation
from mu2net.train.color import rotate_hue, scale_contrast, scale_saturation, shift_brightness
from mu2net.train.crop import BoolArray, Float64Array, crop_and_resize, full_boxes, sample_boxes

HEADROOM = 2
"""Crops are cut from images of at most this many times the network's input size."""


@dataclass(frozen=True)
class Pipeline:
    """How a batch of stored images becomes the network's input; the ``ds_*`` hyperparameters.

    Args:
        image_size: Side of the network's input, in pixels.
        has_crop: Whether crops are random.
        area_min: Smallest share of the image's area that a crop keeps, in ]0, 1].
        aspect_min: Smallest width / height of a crop, in ]0, 1]; the largest is its inverse.
        has_flip: Whether half of the images are mirrored left to right.
        brightness: Largest shift of the brightness, as a share of 255 levels.
        contrast: Largest relative change of the contrast.
        saturation: Largest relative change of the saturation.
        hue: Largest rotation of the hue, as a share of the colour circle.

    Raises:
        ConfigError: A value lies outside its domain.
    """

    image_size: int
    has_crop: bool = False
    area_min: float = 1.0
    aspect_min: float = 1.0
    has_flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ConfigError(f"ds_image_size is {self.image_size}; expected at least 1 pixel")
        for name in ("area_min", "aspect_min"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ConfigError(f"crop {name} is {getattr(self, name)}; expected a share in ]0, 1]")
        for name in ("brightness", "contrast", "saturation", "hue"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} delta is {getattr(self, name)}; expected a share in [0, 1]")

    @classmethod
    def from_hparams(cls, hparams: Mapping[str, Value]) -> Pipeline:
        """Return the pipeline that the ``ds_*`` hyperparameters of a child describe.

        Args:
            hparams: Hyperparameters by name; those that do not start with ``ds_`` are not read.

        Raises:
            ConfigError: A ``ds_*`` hyperparameter is missing, or its value lies outside its domain.
        """
        try:
            return cls(
                image_size=int(hparams["ds_image_size"]),
                has_crop=bool(hparams["ds_crop"]),
                area_min=float(hparams["ds_area_range_min"]),
                aspect_min=float(hparams["ds_aspect_ratio_range_min"]),
                has_flip=bool(hparams["ds_flip_left_right"]),
                brightness=float(hparams["ds_brightness_delta"]),
                contrast=float(hparams["ds_contrast_delta"]),
                saturation=float(hparams["ds_saturation_delta"]),
                hue=float(hparams["ds_hue_delta"]),
            )
        except KeyError as error:
            raise ConfigError(f"hyperparameter {error.args[0]!r} has no value; the image pipeline needs it") from None

    @property
    def crops(self) -> bool:
        """Whether crops differ from the whole image (both minima at 1 switch cropping off)."""
        return self.has_crop and (self.area_min < 1.0 or self.aspect_min < 1.0)

    @property
    def jitters(self) -> bool:
        """Whether colours change."""
        return any(delta > 0 for delta in (self.brightness, self.contrast, self.saturation, self.hue))

    @property
    def is_deterministic(self) -> bool:
        """Whether an image always gives the same input, so that its activations can be kept."""
        return not (self.crops or self.has_flip or self.jitters)

    def without_augmentation(self) -> Pipeline:
        """Return the pipeline of validation, test and prediction: resize only."""
        return Pipeline(self.image_size)

    def canonical(self) -> str:
        """Return a string that is equal for exactly the pipelines that compute the same."""
        effective = self if self.crops else replace(self, has_crop=False, area_min=1.0, aspect_min=1.0)
        return json.dumps(asdict(effective), sort_keys=True, separators=(",", ":"))


def train_side(pipeline: Pipeline, split: Split) -> int:
    """Return the side at which training pixels are fetched, in pixels.

    Crops are cut from larger images where the originals have more pixels than the network's input, at most twice
    its side.

    Args:
        pipeline: The pipeline.
        split: The training split.
    """
    if not pipeline.crops:
        return pipeline.image_size
    return min(max(split.native_side(), pipeline.image_size), HEADROOM * pipeline.image_size)


@dataclass(frozen=True)
class Draws:
    """What chance decides about some images; drawn once, and then read by image.

    Args:
        boxes: Crop boxes (left, top, right, bottom) in shares of the sides, shape ``[B, 4]``.
        mirrored: Which images are flipped left to right, shape ``[B]``.
        colors: Brightness, contrast, saturation and hue in [-1, 1], float32, shape ``[4, B]``.
    """

    boxes: Float64Array
    mirrored: BoolArray
    colors: Float32Array

    @classmethod
    def sample(cls, pipeline: Pipeline, aspects: Float32Array, rng: np.random.Generator) -> Draws:
        """Draw for some images; what a pipeline does not use takes nothing from the generator.

        Args:
            pipeline: What is done to the images.
            aspects: Width / height of the originals, shape ``[B]``.
            rng: Source of the draws.
        """
        count = len(aspects)
        boxes = full_boxes(count)
        if pipeline.crops:
            boxes = sample_boxes(rng, aspects, pipeline.area_min, pipeline.aspect_min)
        mirrored = rng.random(count) < 0.5 if pipeline.has_flip else np.zeros(count, dtype=bool)
        colors = rng.uniform(-1.0, 1.0, (4, count)) if pipeline.jitters else np.zeros((4, count))
        return cls(boxes, mirrored, colors.astype(np.float32))

    def take(self, indices: Int64Array) -> Draws:
        """Return the draws of some of the images.

        Args:
            indices: Which images, shape ``[B]``.
        """
        return Draws(self.boxes[indices], self.mirrored[indices], self.colors[:, indices])

    @classmethod
    def join(cls, parts: Sequence[Draws]) -> Draws:
        """Return the draws of the images of all parts, in order."""
        boxes, mirrored = ([getattr(part, name) for part in parts] for name in ("boxes", "mirrored"))
        return cls(np.concatenate(boxes), np.concatenate(mirrored), np.concatenate([p.colors for p in parts], axis=1))


def apply_pipeline(pipeline: Pipeline, images: UInt8Array, draws: Draws) -> torch.Tensor:
    """Crop, resize, flip and jitter a batch; the result depends on the arguments alone.

    Args:
        pipeline: What to do.
        images: RGB images, shape ``[B, side, side, 3]``; any side.
        draws: What was drawn for each of them.

    Returns:
        Uint8 RGB images, shape ``[B, image_size, image_size, 3]``.
    """
    side, mirrored = pipeline.image_size, draws.mirrored
    if not pipeline.crops and images.shape[1:3] == (side, side):
        batch = torch.from_numpy(np.where(mirrored[:, None, None, None], images[:, :, ::-1], images))
    else:
        batch = crop_and_resize(images, draws.boxes, mirrored, side).round_().clamp_(0, 255).to(torch.uint8)
    return _jitter(pipeline, batch, torch.from_numpy(draws.colors)) if pipeline.jitters else batch


def _jitter(pipeline: Pipeline, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Change brightness, contrast, saturation and hue of uint8 images, in this order."""
    levels = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    if pipeline.brightness:
        levels = shift_brightness(levels, pipeline.brightness * draws[0])
    if pipeline.contrast:
        levels = scale_contrast(levels, 1.0 + pipeline.contrast * draws[1])
    if pipeline.saturation:
        levels = scale_saturation(levels, 1.0 + pipeline.saturation * draws[2])
    if pipeline.hue:
        levels = rotate_hue(levels, pipeline.hue * draws[3])
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def normalise(images: torch.Tensor, normalisation: Normalisation, *, is_channels_last: bool = False) -> torch.Tensor:
    """Turn uint8 images into the network's input.

    Args:
        images: RGB images on any device, uint8, shape ``[B, S, S, 3]``.
        normalisation: Mean and standard deviation per channel, in levels of 0 … 255.
        is_channels_last: Whether the result lies channels-last in memory, as convolutional backbones want it.

    Returns:
        Float32 images, shape ``[B, 3, S, S]``.
    """
    mean = torch.tensor(normalisation.mean, device=images.device)
    std = torch.tensor(normalisation.std, device=images.device)
    scaled = ((images.to(torch.float32) - mean) / std).permute(0, 3, 1, 2)
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    return scaled.contiguous(memory_format=layout)
