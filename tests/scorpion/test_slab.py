"""The index of cached rows beside Python's ordered dictionary, and the bound of its memory."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scorpion import slab_kernels as kernels
from services.scorpion.features import FeatureList
from services.scorpion.forest import Forest
from services.scorpion.models import Model
from services.scorpion.slab import FeatureRows, Slab, _index, row_bytes
from tests.scorpion.synthetic import Trained


@given(data=st.data(), rows=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_the_index_behaves_as_a_dictionary_with_an_order_of_use(data: st.DataObject, rows: int) -> None:
    """Beside Python's OrderedDict, with ids that collide often."""
    index, order = _index(rows), OrderedDict[int, int]()
    ids_of = st.lists(st.integers(1, 40), min_size=1, max_size=rows, unique=True)
    for step in range(data.draw(st.integers(1, 40))):
        ids = data.draw(ids_of)
        asked = np.array(ids, np.uint64)
        slots = np.empty(len(ids), np.int32)
        if data.draw(st.booleans()):
            kernels.keep(index, asked, float(step), 0, slots)
            for id in ids:
                order[id] = step
                order.move_to_end(id)
                if len(order) > rows:
                    order.popitem(last=False)
        else:
            since = float(data.draw(st.integers(-1, step)))
            fresh = kernels.Fresh(since, 0, np.zeros(0, np.bool_))
            kernels.find(index, asked, fresh, slots)
            for id, slot in zip(ids, slots.tolist(), strict=True):
                assert (slot > 0) == (order.get(id, -2) > since)
                if slot > 0:
                    order.move_to_end(id)
    held = np.array(list(order), np.uint64)
    slots = np.empty(len(held), np.int32)
    kernels.find(index, held, kernels.Fresh(-1.0, 0, np.zeros(0, np.bool_)), slots)
    assert (slots > 0).all()
    assert len(set(slots.tolist())) == len(held) == index.ends[kernels.COUNT]


def test_all_arrays_together_stay_within_the_bytes(features: FeatureList) -> None:
    columns = features.kinds[0]
    size_bytes = 10_000 * row_bytes(columns)
    slab = Slab(features, columns, size_bytes=size_bytes)
    assert slab.capacity == 10_000
    index = slab._index
    arrays = [slab._values, slab._missing, slab._ids, index.table, index.rows]
    residents = 2 * slab.width * slab.capacity
    assert sum(array.nbytes for array in arrays) + residents <= size_bytes * 1.01


def test_a_models_bytes_are_not_read_before_every_row_has_them(trained: Trained) -> None:
    features = trained.features
    columns = features.kinds[0]
    slab = Slab(features, columns, size_bytes=100 * row_bytes(columns))
    values = np.random.default_rng(1).random((60, columns.width), np.float32)
    computed = features.row_features(columns.kind, values)
    rows = FeatureRows(computed.matrix, computed.missing, np.zeros((60, len(columns.id_columns)), np.uint64))
    slab.keep(np.arange(1, 61, dtype=np.uint64), rows, fetched_s=1.0, cover=0)
    part = Model("v1", Forest(trained.model.text), features).row_parts[columns.kind]
    assert slab.admit(part)
    assert slab.bins(part) is None
    assert slab.rebin(part, start=0, count=50)
    assert slab.bins(part) is None
    assert not slab.rebin(part, start=50, count=50)
    bins = slab.bins(part)
    assert bins is not None
    np.testing.assert_array_equal(bins[1:61], part.bin(computed.matrix))
    slab.dismiss(part)
    assert slab.bins(part) is None
