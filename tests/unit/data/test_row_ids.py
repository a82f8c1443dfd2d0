import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import DiskError
from rehearsal.data.row_ids import RowIds

IDS = st.one_of(st.integers(0, 9), st.sampled_from(["0", "1", "a", "\ud800"]), st.lists(st.integers(0, 1), max_size=2))


@given(st.lists(IDS, max_size=30))
def test_the_line_that_gave_an_id_first_is_known(ids):
    keys, known = [json.dumps(id_) for id_ in ids], RowIds()
    assert [known.first_line(key, line) for line, key in enumerate(keys, 1)] == [keys.index(key) + 1 for key in keys]


def test_a_disk_without_room_for_them_is_told():
    ids = RowIds()
    ids.first_line('"a"', 1)
    ids._database.execute("PRAGMA max_page_count = 3")
    with pytest.raises(DiskError, match="full; make room where temporary files go"):
        for line in range(2, 1000):
            ids.first_line(f'"{line}"', line)
