"""Files of pretrained roots: safetensors headers that lie."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import torch

from attacks.frame import Strike, attack
from attacks.make import pipe, safetensors_file, sparse, tensors_file
from mu2net.errors import RootError
from mu2net.nn.roots import load_root

_F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def _load(file: Path, options: str = "") -> Strike:
    return lambda: load_root(f"file:{file}{options}")


@attack(RootError)
def header_longer_than_the_file(folder: Path) -> Strike:
    """The header claims 2^40 bytes; the file has a dozen."""
    return _load(safetensors_file(folder / "root.safetensors", {}, length=2**40))


@attack(RootError)
def header_length_that_overflows(folder: Path) -> Strike:
    """The header claims 2^64 - 1 bytes: adding eight to it wraps around."""
    return _load(safetensors_file(folder / "root.safetensors", {}, length=2**64 - 1))


@attack(RootError)
def header_of_half_a_gigabyte(folder: Path) -> Strike:
    """A header of 512 MiB that is really there, full of spaces."""
    size = 2**29
    return _load(sparse(folder / "root.safetensors", size + 8, size.to_bytes(8, "little") + b"{}"))


@attack(RootError)
def overlapping_tensors(folder: Path) -> Strike:
    """Two tensors share their bytes: to write one writes the other."""
    return _load(safetensors_file(folder / "root.safetensors", {"a": _F32, "b": _F32}, bytes(8)))


@attack(RootError)
def tensors_beyond_the_end(folder: Path) -> Strike:
    """A tensor lies behind the end of the file."""
    header = {"a": {"dtype": "F32", "shape": [2**20], "data_offsets": [0, 2**22]}}
    return _load(safetensors_file(folder / "root.safetensors", header, bytes(8)))


@attack(RootError)
def tensors_before_the_beginning(folder: Path) -> Strike:
    """A tensor begins at a negative offset."""
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}
    return _load(safetensors_file(folder / "root.safetensors", header, bytes(8)))


@attack(RootError)
def hidden_bytes_between_tensors(folder: Path) -> Strike:
    """A hole between two tensors hides a payload."""
    header = {"a": _F32, "b": {"dtype": "F32", "shape": [2], "data_offsets": [64, 72]}}
    return _load(safetensors_file(folder / "root.safetensors", header, b"payload " * 9))


@attack(RootError)
def shape_that_overflows(folder: Path) -> Strike:
    """The product of a shape wraps around to the number of elements that are there."""
    header = {"a": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 0]}}
    return _load(safetensors_file(folder / "root.safetensors", header))


@attack(RootError)
def header_nested_without_end(folder: Path) -> Strike:
    """Ten thousand open brackets exhaust the stack of a recursive parser."""
    return _load(safetensors_file(folder / "root.safetensors", b'{"a":' + b"[" * 10_000))


@attack(RootError)
def header_that_is_no_text(folder: Path) -> Strike:
    """The header is not UTF-8."""
    return _load(safetensors_file(folder / "root.safetensors", b'{"\xff\xfe": 1}'))


@attack(RootError)
def pickle_in_disguise(folder: Path) -> Strike:
    """A pickle that would delete a file, named like weights."""

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.unlink, (str(folder / "victim"),)

    (folder / "victim").write_text("still here")
    file = folder / "root.safetensors"
    file.write_bytes(pickle.dumps(Payload()))

    def strike() -> None:
        try:
            load_root(f"file:{file}")
        finally:
            assert (folder / "victim").exists()

    return strike


@attack(RootError)
def torch_file_in_disguise(folder: Path) -> Strike:
    """A file of ``torch.save``, named like weights."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, buffer)
    (folder / "root.safetensors").write_bytes(buffer.getvalue())
    return _load(folder / "root.safetensors")


@attack(RootError)
def weights_that_are_not_numbers(folder: Path) -> Strike:
    """One NaN makes every prediction NaN."""
    (folder / "root.safetensors").write_bytes(tensors_file({"cls_token": torch.tensor([float("nan")])}))
    return _load(folder / "root.safetensors")


@attack(RootError)
def embedding_of_nothing_for_everything(folder: Path) -> Strike:
    """An embedding of 10^12 positions takes no bytes, because each has a width of zero."""
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in {
            "cls_token": [1, 1, 0],
            "pos_embed": [1, 10**12, 0],
            "patch_embed.proj.weight": [0, 3, 4, 4],
            "patch_embed.proj.bias": [0],
            "norm.weight": [0],
            "norm.bias": [0],
            **{
                f"blocks.0.{name}.{leaf}": [0]
                for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
                for leaf in ("weight", "bias")
            },
        }.items()
    }
    return _load(safetensors_file(folder / "root.safetensors", header))


@attack(RootError)
def weights_that_are_a_pipe(folder: Path) -> Strike:
    """The weights are a named pipe that nobody writes to."""
    return _load(pipe(folder / "root.safetensors"))


@attack(RootError)
def option_with_a_number_of_megabytes(folder: Path) -> Strike:
    """An option of the root has a million digits."""
    (folder / "root.safetensors").write_bytes(tensors_file({"a": torch.zeros(2)}))
    return _load(folder / "root.safetensors", "?heads=" + "9" * 1_000_000)
