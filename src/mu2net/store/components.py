"""Components on disk: one write-once file for each, named by the SHA-256 of its bytes.

``components/sha256/ab/abcd….safetensors``, read-only, without a metadata header. A file is read whole and hashed on
every load, so what a caller gets is what the name says.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from mu2net.core.component import Digest
from mu2net.errors import ComponentError
from mu2net.store.files import MAX_BYTES, TEMPORARY_PREFIX, Files

SUFFIX = ".safetensors"

_DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADER_LENGTH = 8


def canonical_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the bytes that a component is stored as and named by: a safetensors file in one fixed form.

    Widest element first, then by name; no metadata; header padded with spaces to a multiple of 8 bytes. Written
    here and not by the safetensors library, because a digest must not change when that library does.

    Args:
        tensors: The component's tensors by local name, of any shape, device and stride.

    Raises:
        TypeError: A tensor has an element type that components cannot have.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            known = ", ".join(str(dtype) for dtype in _DTYPES)
            raise TypeError(f"tensor {name!r} is {tensor.dtype}; a component can hold {known}")
    header: dict[str, dict[str, object]] = {}
    parts: list[bytes] = []
    start = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name].detach().cpu()
        # A copy, because the stride of a tensor with one element or none may be anything.
        flat = tensor.reshape(-1).clone(memory_format=torch.contiguous_format)
        data = flat.view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + len(data)],
        }
        parts.append(data)
        start += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(_HEADER_LENGTH, "little"), text, *parts])


def digest_of(data: bytes) -> Digest:
    """Return the SHA-256 of a component's canonical bytes."""
    return Digest(hashlib.sha256(data).hexdigest())


class ComponentFiles:
    """The component files of one system.

    Any number of processes may put and load at the same time: a file appears complete or not at all, and
    two processes that put equal tensors write equal bytes.

    Args:
        directory: The folder ``components`` of the system.
        files: The seam to the file system.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self._folder = directory / "sha256"
        self._files = files or Files()

    def file(self, digest: Digest) -> Path:
        """Return where a component lies, whether it exists or not.

        Raises:
            ValueError: This is not a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is not a digest; expected 64 lower-case hexadecimal digits")
        return self._folder / digest[:2] / f"{digest}{SUFFIX}"

    def put(self, tensors: Mapping[str, torch.Tensor]) -> Digest:
        """Store tensors and return their digest; on the disk and complete once this returns.

        A component that is there already stays untouched, and one that is damaged is replaced.

        Args:
            tensors: The component's tensors by local name.

        Raises:
            OSError: The file cannot be written, for instance because the disk is full.
        """
        data = canonical_bytes(tensors)
        if len(data) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"a component has {len(data):,} bytes; expected at most {MAX_BYTES:,}")
        digest = digest_of(data)
        file = self.file(digest)
        self._files.make_folder(file.parent)
        if self._files.is_file(file) and self._files.read(file) == data:
            # A crash may have come between the rename and this: the name must be on the disk before it is used.
            self._files.sync_folder(file.parent)
        else:
            self._files.replace(file, data, 0o444)
        return digest

    def load(self, digest: Digest) -> dict[str, torch.Tensor]:
        """Return a component's tensors: contiguous, on the CPU, owned by the caller alone.

        Args:
            digest: The component.

        Raises:
            ComponentError: The file is missing, truncated or altered.
        """
        data = self._read(digest)
        try:
            tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
        except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise ComponentError(
                f"component {digest} has the bytes that its name says, but they are no tensors ({error}); "
                "mu2net did not write it: restore the system from a backup"
            ) from error
        return {name: tensors[name] for name in sorted(tensors)}

    def size(self, digest: Digest) -> int:
        """Return the size of a component's file, in bytes.

        Raises:
            ComponentError: The file is missing.
        """
        try:
            return self._files.size(self.file(digest))
        except FileNotFoundError:
            raise self._missing(digest) from None

    def verify(self, digest: Digest) -> None:
        """Read a component's file again and check its bytes against its name.

        Raises:
            ComponentError: The file is missing, truncated or altered.
        """
        try:
            if self._files.sha256(self.file(digest)) == digest:
                return
        except OSError:
            pass  # reading the whole says what is the matter
        self._read(digest)

    def digests(self) -> Iterator[Digest]:
        """Yield the digests of all files that are there, sorted, damaged or not."""
        if not self._files.is_folder(self._folder):
            return
        for folder in self._files.names(self._folder):
            for name in self._files.names(self._folder / folder):
                stem = name.removesuffix(SUFFIX)
                if name.endswith(SUFFIX) and _DIGEST.fullmatch(stem):
                    yield Digest(stem)

    def read(self, digest: Digest) -> bytes:
        """Return the bytes of a component's file, which are those that its name says.

        Raises:
            ComponentError: The file is missing, truncated or altered.
        """
        return self._read(digest)

    def restore(self, digest: Digest, data: bytes) -> None:
        """Put bytes that hash to a digest where its file belongs.

        Raises:
            OSError: The file cannot be written.
            ValueError: They do not hash to it.
        """
        if digest_of(data) != digest:
            raise ValueError(f"{len(data)} bytes do not hash to {digest}")
        file = self.file(digest)
        self._files.make_folder(file.parent)
        self._files.replace(file, data, 0o444)

    def modified(self, digest: Digest) -> float | None:
        """Return when a component's file was written, in seconds since the epoch; ``None`` where it is gone."""
        try:
            return self._files.modified(self.file(digest))
        except FileNotFoundError:
            return None

    def sizes(self) -> dict[Digest, int]:
        """Return the size of every file that is there, in bytes; one that goes meanwhile is left out."""
        found = {}
        for digest in self.digests():
            try:
                found[digest] = self._files.size(self.file(digest))
            except FileNotFoundError:
                continue
        return found

    def remove(self, digest: Digest) -> None:
        """Remove a component's file; one that is not there is none."""
        file = self.file(digest)
        if self._files.is_file(file):
            self._files.remove(file)

    def temporary_files(self) -> Iterator[Path]:
        """Yield the files that a crash left behind unfinished, and those that are being written."""
        if not self._files.is_folder(self._folder):
            return
        for folder in self._files.names(self._folder):
            for name in self._files.names(self._folder / folder):
                if name.startswith(TEMPORARY_PREFIX):
                    yield self._folder / folder / name

    def _read(self, digest: Digest) -> bytes:
        file = self.file(digest)
        try:
            data = self._files.read(file)
        except FileNotFoundError:
            raise self._missing(digest) from None
        except OSError as error:
            raise ComponentError(
                f"component {digest} cannot be read from {file}: {error.strerror}; "
                "check the disk and the permissions, then run `mu2net verify`"
            ) from error
        if digest_of(data) != digest:
            raise ComponentError(f"component {digest} is {_damage(data)} in {file}; {_way_out(file)}")
        return data

    def _missing(self, digest: Digest) -> ComponentError:
        file = self.file(digest)
        return ComponentError(f"component {digest} is missing: there is no {file}; {_way_out(file)}")


def _way_out(file: Path) -> str:
    return f"restore {file.name} from a backup or another copy of the system, then run `mu2net verify`"


def _damage(data: bytes) -> str:
    """Return what happened to the bytes of a component that no longer hash to its name."""
    expected = _expected_size(data)
    if expected is None:
        return f"truncated or altered in its header (found {len(data)} bytes)"
    if len(data) < expected:
        return f"truncated (expected {expected} bytes, found {len(data)})"
    return f"altered (its {len(data)} bytes hash to {digest_of(data)})"


def _expected_size(data: bytes) -> int | None:
    """Return the size in bytes that a component's own header announces, ``None`` where it cannot be read."""
    try:
        header, length = json.JSONDecoder().raw_decode(data[_HEADER_LENGTH:].decode("latin-1"))
        ends = [int(entry["data_offsets"][1]) for entry in header.values()]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return _HEADER_LENGTH + length + -length % 8 + max(ends, default=0)
