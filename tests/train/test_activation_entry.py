import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.component import PrefixKey
from mu2net.train.activation_entry import HEADER_BYTES, Entry, Layout, checksums

KEY = PrefixKey("ab" * 32)


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal bits in an equal arrangement."""
    integer = torch.int32 if first.dtype == torch.float32 else torch.int16
    return (
        (first.dtype, first.shape, first.stride()) == (second.dtype, second.shape, second.stride())
    ) and torch.equal(first.view(integer), second.view(integer))


def bits(shape, dtype, seed=0):
    """Random bits, NaN and infinities among them."""
    integer = np.dtype(f"i{dtype.itemsize}")
    limits = np.iinfo(integer)
    return torch.from_numpy(np.random.default_rng(seed).integers(limits.min, limits.max, shape, integer)).view(dtype)


@given(
    st.integers(1, 4),
    st.lists(st.integers(1, 4), max_size=3).map(tuple),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
)
def test_bytes_keep_bits_and_arrangement(count, shape, dtype, is_channels_last):
    activations = bits((count, *shape), dtype)
    if is_channels_last and len(shape) == 3:
        activations = torch.empty_like(activations, memory_format=torch.channels_last).copy_(activations)
    layout = Layout.of(activations)
    content = layout.to_bytes(activations)
    assert content.shape == (count, layout.row_bytes)
    out = layout.empty(count)
    out.numpy()[:] = content
    restored = layout.restore(out)
    assert same(restored, activations)


@pytest.mark.parametrize("shape", [(3, 4, 1, 1), (3, 1, 5, 2), (1, 1, 1, 1), (2, 3, 4, 5)])
def test_axes_of_size_one_keep_their_strides(shape):
    for memory_format in (torch.contiguous_format, torch.channels_last):
        activations = torch.empty(shape, memory_format=memory_format).copy_(bits(shape, torch.float32))
        layout = Layout.of(activations)
        out = layout.empty(len(activations))
        out.numpy()[:] = layout.to_bytes(activations)
        assert layout.restore(out).stride() == activations.stride()


def test_what_lies_in_both_ways_is_contiguous():
    assert Layout.of(torch.zeros(2, 1, 1, 1)) == Layout((1, 1, 1), torch.float32)


def test_no_activations_are_none():
    for nothing in (torch.zeros(0, 3, 2), torch.from_numpy(np.zeros((0, 3, 2), np.float32))):
        layout = Layout.of(nothing)
        assert layout.to_bytes(nothing).shape == (0, 24)
        assert layout.restore(layout.empty(0)).shape == (0, 3, 2)


def test_strides_of_an_axis_of_size_one_do_not_matter():
    column = torch.arange(6.0).view(2, 3).t()[:, 1:2]
    assert Layout.of(column).to_bytes(column).tobytes() == np.arange(3.0, 6.0, dtype=np.float32).tobytes()


def test_a_slice_is_kept_contiguous():
    tokens = bits((3, 5, 4), torch.float32)[:, 2]
    layout = Layout.of(tokens)
    assert layout == Layout((4,), torch.float32)
    assert layout.to_bytes(tokens).tobytes() == tokens.contiguous().numpy().tobytes()


def test_a_contiguous_activation_is_not_copied():
    activations = bits((3, 4), torch.float32)
    assert np.shares_memory(Layout.of(activations).to_bytes(activations), activations.numpy())


def test_what_has_a_graph_is_kept_without_it():
    activations = torch.ones(2, 3, requires_grad=True) * 2
    assert Layout.of(activations).to_bytes(activations).shape == (2, 12)


def test_another_layout_is_an_error():
    layout = Layout((2, 3, 4), torch.float32)
    maps = torch.zeros(5, 2, 3, 4)
    for wrong in (maps.bfloat16(), maps[:, :1], maps.contiguous(memory_format=torch.channels_last)):
        with pytest.raises(ValueError, match="their entry in the cache has Layout"):
            layout.to_bytes(wrong)


@pytest.mark.parametrize(
    ("shape", "dtype", "is_channels_last"),
    [((2,), torch.float16, False), ((2, 0), torch.float32, False), ((2, 2), torch.float32, True)],
)
def test_impossible_layouts(shape, dtype, is_channels_last):
    with pytest.raises(ValueError, match="activations"):
        Layout(shape, dtype, is_channels_last)


def entries():
    shapes = st.lists(st.integers(1, 300), max_size=4).map(tuple)
    layouts = st.builds(Layout, shapes, st.sampled_from([torch.float32, torch.bfloat16]))
    maps = st.builds(Layout, st.tuples(*[st.integers(1, 99)] * 3), st.just(torch.float32), st.just(True))
    return st.builds(Entry, st.just(KEY), st.integers(1, 10**7), layouts | maps)


@given(entries())
def test_a_header_says_what_the_entry_is(entry):
    page = entry.header()
    assert len(page) == HEADER_BYTES
    assert Entry.parse(page) == entry
    assert entry.rows_offset % HEADER_BYTES == 0
    assert entry.rows_offset >= HEADER_BYTES + 8 * entry.rows
    assert entry.size == entry.rows_offset + entry.rows * entry.layout.row_bytes


@given(entries(), st.data())
def test_no_flipped_bit_of_a_header_goes_unnoticed(entry, data):
    page = bytearray(entry.header())
    used = len(bytes(page).rstrip(b"\0"))
    page[data.draw(st.integers(0, used - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match="header is damaged"):
        Entry.parse(bytes(page))


@pytest.mark.parametrize("page", [b"", b"\0" * HEADER_BYTES, b"x" * HEADER_BYTES, b"{}\n\n".ljust(HEADER_BYTES)])
def test_garbage_is_no_header(page):
    with pytest.raises(ValueError, match="header is damaged"):
        Entry.parse(page)


def test_another_format_is_said(monkeypatch):
    entry = Entry(KEY, 3, Layout((2,), torch.float32))
    monkeypatch.setattr("mu2net.train.activation_entry._FORMAT", "mu2net activations 0")
    page = entry.header()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="another format"):
        Entry.parse(page)


def test_a_header_can_be_read_by_people():
    line = Entry(KEY, 3, Layout((2,), torch.bfloat16)).header().split(b"\n")[0]
    assert json.loads(line)["dtype"] == "bfloat16"


def test_a_checksum_depends_on_bytes_and_place():
    content = np.zeros((3, 8), np.uint8)
    first, second, changed = checksums([0, 1, 1], content)
    assert first != second == changed
    content[2, 7] = 1
    assert checksums([0, 1, 1], content)[:2] == [first, second]
    assert checksums([0, 1, 1], content)[2] != changed


def test_no_checksum_says_missing(monkeypatch):
    monkeypatch.setattr("xxhash.xxh3_64_intdigest", lambda *_: 0)
    assert checksums([0, 1], np.zeros((2, 8), np.uint8)) == [1, 1]
