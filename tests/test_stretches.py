"""Runs of rows are copied as slices would be, whichever way is taken for their lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core import stretches


@pytest.mark.parametrize("short", [0, 4096])
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    same=st.booleans(),
    width=st.sampled_from([None, 1, 3]),
    data=st.data(),
)
def test_stretches_are_copied_as_slices_would_be(short, lengths, same, width, data):
    length = np.array([lengths[0]] * len(lengths) if same else lengths)
    rows = np.arange(30 * (width or 1)).reshape(30, *([width] if width else [])).astype(np.float32)
    first = np.array([data.draw(st.integers(0, 30 - n)) for n in length.tolist()])
    slices = [rows[a : a + n] for a, n in zip(first, length, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "SHORT", short)
        np.testing.assert_array_equal(stretches.take(rows, first, length), np.concatenate(slices))
        target, wanted = np.zeros((2, 200, *rows.shape[1:]), np.float32)
        begin = np.arange(len(length)) * 12
        stretches.copy(rows, first, target, begin, length)
    for a, part in zip(begin, slices, strict=True):
        wanted[a : a + len(part)] = part
    np.testing.assert_array_equal(target, wanted)


def test_a_view_has_every_stretch_and_copies_nothing():
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    view = stretches.view(rows, 3)
    assert view.tolist() == [rows[:3].tolist(), rows[1:].tolist()]
    rows[1] = 9
    assert view[0, 1].tolist() == view[1, 0].tolist() == [9, 9]
    assert stretches.view(rows, 5).shape == (0, 5, 2)
