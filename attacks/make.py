"""Files that lie, and small systems to be lied about."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save

from mu2net.store.config import SystemConfig
from mu2net.store.records import NewComponent, TaskRecord
from mu2net.store.store import Store
from mu2net.system import System

ROOT = "vit:dim=8,depth=1,heads=1,patch=4,image=8"
"""A root that is made in a moment."""


def sparse(file: Path, size: int, start: bytes = b"") -> Path:
    """Make a file that takes no space and has ``size`` bytes, zeros after ``start``."""
    with file.open("wb") as opened:
        opened.write(start)
        opened.truncate(size)
    return file


def safetensors_file(file: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """Write a safetensors file with any header: JSON values or bytes, and any claim of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return file


def png(width: int, height: int, data: bytes, extra: bytes = b"") -> bytes:
    """Return a PNG file that claims a size, with any compressed data and any chunks before it."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def zeros(size: int) -> bytes:
    """Return ``size`` zeros, deflated; a thousandth of them, made piece by piece."""
    packer, parts = zlib.compressobj(9), []
    block = bytes(2**20)
    parts = [packer.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, packer.flush()])


def picture(seed: int = 0) -> bytes:
    """Return an innocent PNG file."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (seed * 37 % 256, seed * 59 % 256, seed * 83 % 256)).save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(folder: Path) -> Path:
    """Make an innocent folder of two classes."""
    for number in range(2):
        (folder / f"class{number}").mkdir(parents=True)
        for image in range(12):
            (folder / f"class{number}" / f"{image}.png").write_bytes(picture(20 * number + image))
    return folder


def system(folder: Path) -> Path:
    """Make a system with a root and no task, and return its folder."""
    made = folder / "system"
    System.create(made, root=ROOT)
    return made


def store(folder: Path) -> Path:
    """Make a system whose task ``digits`` has a row, without images, and return its folder."""
    made = Store.create(folder / "system", SystemConfig(root="tiny", backbone={"backbone": "efficientnet-lite0"}))
    from mu2net.core.component import Slot

    made.put_root([NewComponent(Slot("stem", "stem"), {"weight": torch.zeros(2)}, 2)], {"num_layers": 1})
    made.add_task(TaskRecord("digits", {"uri": "demo:digits"}, ("zero", "one"), "f" * 64))
    return folder / "system"


def alter(system: Path, *statements: str) -> Path:
    """Run SQL on a system's registry, as somebody would who also deletes the seal."""
    connection = sqlite3.connect(system / "registry.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    (system / "registry.seal").unlink()
    return system


def tensors_file(tensors: dict[str, torch.Tensor]) -> bytes:
    """Return an honest safetensors file."""
    return save(tensors)


def pipe(file: Path) -> Path:
    """Make a named pipe: who opens it to read waits for ever."""
    os.mkfifo(file)
    return file
