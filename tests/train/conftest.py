"""A small task in memory, a tiny transformer, and proposals that train parts of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from mu2net.core.anatomy import HEAD, adapter_slot
from mu2net.core.component import Digest
from mu2net.core.path import Value
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.data.task import Float32Array, Int64Array, TaskData, UInt8Array
from mu2net.nn.backbone import Normalisation, Tensors
from mu2net.nn.vit import Vit
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader
from mu2net.train.child import ChildJob, ChildRun, ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.group import TrainConfig, TrainGroup
from mu2net.train.team import make_children


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class MemoryPixels:
    images: UInt8Array

    @property
    def side(self) -> int:
        return self.images.shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Int64Array) -> UInt8Array:
        return self.images[indices]


@dataclass(frozen=True)
class MemorySplit:
    images: UInt8Array
    labels: Int64Array
    fetched: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def aspects(self) -> Float32Array:
        return np.ones(len(self), dtype=np.float32)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()

    def native_side(self) -> int:
        return self.images.shape[1]

    def pixels(self, side: int) -> MemoryPixels:
        self.fetched.append(side)
        resized = [
            np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)) for image in self.images
        ]
        return MemoryPixels(np.stack(resized) if resized else np.zeros((0, side, side, 3), np.uint8))


def make_split(count: int, seed: int, *, side: int = 12, classes: int = 3) -> MemorySplit:
    """Noise with one bright quadrant: the class says which."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 90, (count, side, side, 3), dtype=np.uint8)
    half = side // 2
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 2)
        image[top * half : (top + 1) * half, left * half : (left + 1) * half] += np.uint8(140)
    return MemorySplit(images, labels)


@pytest.fixture
def split() -> Callable[..., MemorySplit]:
    return make_split


@pytest.fixture
def task() -> TaskData:
    train, validation, test = make_split(45, 0), make_split(21, 1), make_split(6, 2)
    return TaskData("quadrants", ("a", "b", "c"), "f" * 64, train, validation, test)


@dataclass
class MemorySource:
    """Components by a made-up digest; counts how often each is loaded."""

    components: dict[Digest, Tensors] = field(default_factory=dict)
    momenta: dict[Digest, Tensors] = field(default_factory=dict)
    loads: list[Digest] = field(default_factory=list)

    def add(self, tensors: Tensors) -> Digest:
        content = b"".join(name.encode() + value.numpy().tobytes() for name, value in sorted(tensors.items()))
        digest = Digest(hashlib.sha256(content).hexdigest())
        self.components[digest] = tensors
        return digest

    def load(self, digest: Digest) -> Tensors:
        self.loads.append(digest)
        return self.components[digest]

    def momentum(self, digest: Digest) -> Tensors | None:
        return self.momenta.get(digest)


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def vit() -> Vit:
    normalisation = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
    return Vit(dim=16, depth=3, heads=2, patch_size=4, image_size=8, mlp_dim=32, normalisation=normalisation)


def random_root(vit: Vit, source: MemorySource) -> dict[str, Digest]:
    """Add a random root whose class token sees the image: weights much larger than at the start of pretraining."""
    slots = vit.anatomy.slots(vit.depth)[:-1]
    digests = {}
    for seed, slot in enumerate(slots):
        tensors = vit.random(slot, seed)
        scaled = {name: value * 15 if value.ndim == 2 else value for name, value in tensors.items()}
        digests[slot.name] = source.add(scaled)
    return digests


@pytest.fixture
def root(vit: Vit, source: MemorySource) -> dict[str, Digest]:
    """The digests of the root's components, by slot name."""
    return random_root(vit, source)


HPARAMS: dict[str, Value] = {
    "opt_lr": 0.1,
    "opt_lr_schedule": "cosine",
    "opt_lr_warmup_ratio": 0.05,
    "opt_momentum": 0.9,
    "opt_nesterov": False,
    "num_layers": 3,
    "adapter_dim": 8,
    "ds_image_size": 8,
    "ds_crop": True,
    "ds_area_range_min": 0.5,
    "ds_aspect_ratio_range_min": 0.75,
    "ds_flip_left_right": False,
    "ds_brightness_delta": 0.1,
    "ds_contrast_delta": 0.1,
    "ds_saturation_delta": 0.0,
    "ds_hue_delta": 0.0,
}

JobMaker = Callable[..., ChildJob]


@pytest.fixture
def hparams() -> dict[str, Value]:
    return dict(HPARAMS)


@pytest.fixture
def job(vit: Vit, root: dict[str, Digest]) -> JobMaker:
    """Make a child that clones some slots of the root, has some adapters, and a fresh head."""

    def make(
        name: str, *clones: str, adapters: tuple[int, ...] = (), inherits_momentum: bool = False, **changes: Value
    ) -> ChildJob:
        plans = []
        fresh = {adapter_slot(index).name for index in adapters} | {HEAD.name}
        for slot in vit.anatomy.slots(vit.depth, adapters):
            if slot.name in fresh:
                plans.append(SlotPlan(slot, "fresh", None))
            else:
                plans.append(SlotPlan(slot, "clone" if slot.name in clones else "share", root[slot.name]))
        proposal = Proposal("root", "root", tuple(plans), {**HPARAMS, **changes}, inherits_momentum=inherits_momentum)
        return ChildJob(name, proposal, 3)

    return make


GroupMaker = Callable[..., TrainGroup]


@pytest.fixture
def group(task: TaskData, vit: Vit) -> GroupMaker:
    def make(*jobs: ChildJob, config: TrainConfig | None = None, seed: int = 0) -> TrainGroup:
        config = config or TrainConfig(2, 32, batch_size=8, evaluation_batch_size=8)
        return TrainGroup(task, jobs, config, (seed, "quadrants", 0, 0), vit)

    return make


@pytest.fixture
def reader(vit: Vit, split: Callable[..., MemorySplit]) -> SplitReader:
    """24 training images of the size of ``vit``."""
    return SplitReader("train", split(24, 0), Pipeline(8), Compute.of(vit, torch.device("cpu"), "float32"))


@pytest.fixture
def child(vit: Vit, source: MemorySource, job: JobMaker, reader: SplitReader) -> Callable[..., ChildRun]:
    """Make a child alone that clones some slots, with changed hyperparameters."""

    def make(*clones: str, **changes: Value) -> ChildRun:
        factory = ModuleFactory(vit, source, torch.device("cpu"), (0,))
        (made,) = make_children([job("a", *clones, **changes)], factory, {"train": reader})
        return made

    return make
