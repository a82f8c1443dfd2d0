"""Rows wait on scratch and come back as they were, in any order."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rehearsal.prompts.masks import Sample
from rehearsal.worker.spool import ROW_BYTES, TOKEN_BYTES, Spool

SPAN = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda span: (min(span), max(span)))
SAMPLES = st.builds(Sample, st.lists(st.integers(0, 2**31 - 1), max_size=50), st.lists(SPAN, max_size=3))


@given(st.lists(st.tuples(st.text(max_size=12), SAMPLES), max_size=12))
def test_rows_come_back_as_they_were(tmp_path_factory, rows) -> None:  # type: ignore[no-untyped-def]
    path: Path = tmp_path_factory.mktemp("scratch") / "rows"
    with Spool(path) as spool:
        for name, sample in rows:
            spool.add(name, sample)
        assert len(spool) == len(rows)
        for place, (name, sample) in reversed(list(enumerate(rows))):
            spans = [list(span) for span in sample.spans]
            assert spool.row(place) == {"id": name, "ids": sample.ids, "spans": spans}
            assert (spool.tokens(place), spool.trained(place)) == (len(sample.ids), sum(b - a for a, b in sample.spans))
        assert path.stat().st_size <= sum(TOKEN_BYTES * len(sample.ids) + ROW_BYTES for _, sample in rows)
    assert not path.exists()
