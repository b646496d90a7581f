from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mu2net.core.component import Digest
from mu2net.errors import ComponentError
from mu2net.store.components import ComponentFiles, canonical_bytes, digest_of
from mu2net.store.files import Files

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]

shapes = st.lists(st.integers(0, 4), max_size=3)


@st.composite
def some_tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), unique=True, max_size=5))
    made = {}
    for name in names:
        if name == "__metadata__":
            continue
        shape, dtype = draw(shapes), draw(st.sampled_from(DTYPES))
        count = torch.Size(shape).numel()
        if dtype is torch.bool:
            values = torch.tensor(draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=torch.bool)
        else:
            raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
            values = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype) if count else torch.empty(0)
        made[name] = values.to(dtype).reshape(shape)
    return made


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@given(some_tensors(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_bytes_do_not_depend_on_order_or_stride_and_come_back(tensors, random):
    data = canonical_bytes(tensors)
    names = list(tensors)
    random.shuffle(names)
    strided = {
        name: torch.stack([tensors[name], tensors[name]], -1)[..., 0] if tensors[name].dim() else tensors[name]
        for name in names
    }
    assert canonical_bytes(strided) == data

    back = safetensors.torch.load(data)
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert raw(back[name]) == raw(tensor), "the very bits, NaNs included"
    assert canonical_bytes(back) == data


def golden() -> dict[str, torch.Tensor]:
    return {
        "b": torch.arange(3, dtype=torch.int64),
        "weight": torch.linspace(-1, 1, 6).reshape(2, 3),
        "a": torch.zeros(2, dtype=torch.bfloat16),
    }


GOLDEN = "e15da49f1de35a15ca68c25dde960744c8749eaead1311cb687d68192d2c80dc"


def test_a_digest_is_the_same_for_ever():
    assert digest_of(canonical_bytes(golden())) == GOLDEN


def test_a_digest_is_the_same_in_another_process():
    code = (
        "import torch\nfrom mu2net.store.components import canonical_bytes, digest_of\n"
        "print(digest_of(canonical_bytes({'a': torch.zeros(2, dtype=torch.bfloat16),"
        "'weight': torch.linspace(-1, 1, 6).reshape(2, 3), 'b': torch.arange(3)})))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.strip() == GOLDEN


def test_different_tensors_have_different_digests():
    base = {"w": torch.zeros(2, 3)}
    others = [{"v": torch.zeros(2, 3)}, {"w": torch.zeros(3, 2)}, {"w": torch.zeros(2, 3).to(torch.int32)}, {}]
    digests = {digest_of(canonical_bytes(tensors)) for tensors in [base, *others]}
    assert len(digests) == 5


def test_an_impossible_type_is_named():
    with pytest.raises(TypeError, match=r"'w' is torch\.complex64"):
        canonical_bytes({"w": torch.zeros(2, dtype=torch.complex64)})


@pytest.fixture
def components(tmp_path: Path) -> ComponentFiles:
    return ComponentFiles(tmp_path / "components")


def test_put_writes_once_and_read_only(components, make_tensors, tmp_path):
    digest = components.put(make_tensors(1))
    file = tmp_path / "components" / "sha256" / digest[:2] / f"{digest}.safetensors"
    assert components.file(digest) == file
    before = file.stat()
    assert stat.S_IMODE(before.st_mode) == 0o444
    assert components.put(make_tensors(1)) == digest
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert components.size(digest) == before.st_size
    assert list(components.digests()) == [digest]
    assert [entry.name for entry in file.parent.iterdir()] == [file.name], "no temporary file stays"


def test_load_gives_the_caller_its_own_tensors(components, make_tensors):
    digest = components.put(make_tensors(1))
    components.load(digest)["weight"].zero_()
    again = components.load(digest)
    assert torch.equal(again["weight"], make_tensors(1)["weight"])
    assert list(again) == ["bias", "weight"]


def test_digests_of_an_empty_store(components):
    assert list(components.digests()) == []


def test_a_digest_that_is_none_is_refused(components):
    with pytest.raises(ValueError, match="not a digest"):
        components.file(Digest("../../etc/passwd"))


def damage(file: Path, data: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(data)


@given(st.integers(0, 10_000), st.integers(0, 7))
@example(position=1269, bit=1)
@settings(max_examples=60, deadline=None)
def test_every_flipped_bit_is_found(tmp_path_factory, position, bit):
    components = ComponentFiles(tmp_path_factory.mktemp("flip"))
    digest = components.put({"weight": torch.ones(5, 5)})
    file = components.file(digest)
    data = bytearray(file.read_bytes())
    data[position % len(data)] ^= 1 << bit
    damage(file, bytes(data))
    for check in (components.load, components.verify):
        with pytest.raises(ComponentError, match=r"altered|truncated") as caught:  # a header may promise more bytes now
            check(digest)
        assert digest in str(caught.value)
        assert str(file) in str(caught.value)
        assert "backup" in str(caught.value)


def test_truncated_missing_and_healed(components, make_tensors):
    digest = components.put(make_tensors(1))
    file = components.file(digest)
    whole = file.read_bytes()
    damage(file, whole[:-1])
    with pytest.raises(ComponentError, match=rf"truncated \(expected {len(whole)} bytes, found {len(whole) - 1}\)"):
        components.load(digest)
    for length in (0, 5, 20):
        damage(file, whole[:length])
        with pytest.raises(ComponentError, match="truncated"):
            components.load(digest)
    file.unlink()
    for check in (components.load, components.verify, components.size):
        with pytest.raises(ComponentError, match="missing"):
            check(digest)
    damage_then_put = components.put(make_tensors(1))
    assert damage_then_put == digest
    components.verify(digest)


def test_put_replaces_a_damaged_file(components, make_tensors):
    digest = components.put(make_tensors(1))
    damage(components.file(digest), b"garbage")
    assert components.put(make_tensors(1)) == digest
    components.verify(digest)


def test_a_file_that_cannot_be_read_is_named(components, make_tensors):
    digest = components.put(make_tensors(1))
    file = components.file(digest)
    file.unlink()
    file.mkdir()
    with pytest.raises(ComponentError, match="cannot be read"):
        components.load(digest)


def test_what_is_gone_meanwhile_is_left_out(tmp_path):
    files = ComponentFiles(tmp_path)
    assert list(files.temporary_files()) == []
    assert files.sizes() == {}
    digest = files.put({"a": torch.zeros(2)})

    class Gone(Files):
        def size(self, file):
            raise FileNotFoundError

    assert ComponentFiles(tmp_path, Gone()).sizes() == {}
    assert files.modified(digest) == files.file(digest).stat().st_mtime
    files.remove(digest)
    files.remove(digest)
    assert files.modified(digest) is None
    assert list(files.digests()) == []


def test_only_bytes_of_the_digest_are_restored(tmp_path):
    files = ComponentFiles(tmp_path)
    data = canonical_bytes({"a": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"72 bytes do not hash to 0000"):
        files.restore(Digest("0" * 64), data)
    assert list(files.digests()) == []
    files.restore(digest_of(data), data)
    assert files.read(digest_of(data)) == data


def test_a_component_that_nobody_could_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("mu2net.store.components.MAX_BYTES", 71)
    with pytest.raises(OSError, match=r"a component has 72 bytes; expected at most 71"):
        ComponentFiles(tmp_path).put({"a": torch.zeros(2)})
    assert list(tmp_path.rglob("*")) == []


def test_bytes_of_the_right_digest_that_are_no_tensors(tmp_path):
    files = ComponentFiles(tmp_path)
    digest = digest_of(b"no tensors")
    files.restore(digest, b"no tensors")
    files.verify(digest)
    with pytest.raises(ComponentError, match=r"has the bytes that its name says, but they are no tensors"):
        files.load(digest)


def test_a_check_reads_piece_by_piece_and_finds_what_reading_finds(tmp_path, monkeypatch):
    """A component that is sound is never read as a whole; one that is not is described as it is when it is loaded."""
    components = ComponentFiles(tmp_path)
    digest = components.put({"weight": torch.arange(300_000, dtype=torch.float32)})
    file = components.file(digest)
    assert Files().sha256(file) == digest
    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", lambda *_: pytest.fail("read as a whole"))
        components.verify(digest)
    with pytest.raises(OSError, match="expected at most 1,000"):
        Files().sha256(file, 1000)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    with pytest.raises(ComponentError, match="is altered"):
        components.verify(digest)
    file.unlink()
    with pytest.raises(ComponentError, match="is missing"):
        components.verify(digest)
