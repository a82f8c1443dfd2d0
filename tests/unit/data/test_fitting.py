from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import Refused
from rehearsal.data import fitting
from rehearsal.data.draw import shuffled
from rehearsal.data.fitting import Draw, Verdict, refuse_shortage

VERDICTS = st.lists(st.sampled_from(list(Verdict)), max_size=400)
SETS = VERDICTS.flatmap(lambda verdicts: st.tuples(st.just(verdicts), st.integers(0, len(verdicts))))


def drawn_from(verdicts, wanted, seed=0):
    draw, looked = Draw(len(verdicts), wanted, seed), Counter()

    def look(index, row):
        looked[index] += 1
        return row

    draw.take(lambda: iter(verdicts), look)
    assert max(looked.values(), default=1) == 1, "a row is looked at once"
    return draw, looked


@given(SETS, st.integers())
def test_the_first_rows_that_fit_in_seeded_order_are_drawn_and_the_skipped_ones_counted(given_set, seed):
    verdicts, wanted = given_set
    draw, _ = drawn_from(verdicts, wanted, seed)
    order = list(shuffled(len(verdicts), seed))
    fit = [index for index in order if verdicts[index] is Verdict.FIT][:wanted]
    assert list(draw.rows()) == sorted(fit)
    last = order.index(fit[-1]) + 1 if len(fit) == wanted and fit else len(order) if wanted else 0
    assert draw.seen == Counter(verdicts[index] for index in order[:last])


@given(SETS, st.sampled_from([1.0, 3.0]), st.sampled_from([1, 40]))
def test_what_is_drawn_does_not_depend_on_the_passes(given_set, slack, least):
    verdicts, wanted = given_set
    plain, _ = drawn_from(verdicts, wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "SLACK", slack)
        patch.setattr(fitting, "LEAST", least)
        other, _ = drawn_from(verdicts, wanted)
    assert (list(plain.rows()), plain.seen) == (list(other.rows()), other.seen)


def test_most_rows_of_a_large_set_are_never_looked_at():
    _, looked = drawn_from([Verdict.FIT, Verdict.FIT, Verdict.TOO_LONG] * 2000, 600)
    assert looked.total() < 1200


def test_a_shortage_is_refused_with_the_arithmetic():
    seen = Counter({Verdict.FIT: 40, Verdict.TOO_LONG: 19, Verdict.NOT_ENCODABLE: 1})
    refuse_shortage("spec.rehearsal.dataset.count", 40, "store://talk.jsonl", 60, seen, 4096)
    with pytest.raises(Refused) as refused:
        refuse_shortage("spec.rehearsal.dataset.count", 1000, "store://talk.jsonl", 60, seen, 4096)
    assert refused.value.reason == "TooFewRows"
    assert str(refused.value) == (
        "spec.rehearsal.dataset.count: 1,000 conversations are wanted in the mix, and store://talk.jsonl holds 60, of which 40 "
        "fit: 19 are longer than spec.training.sequenceLength (4,096 tokens), 1 cannot be written in the base model's chat "
        "template; lower it, or give more rows that fit"
    )


def test_a_set_that_is_smaller_than_what_is_wanted_is_refused_before_it_is_read():
    with pytest.raises(Refused, match=r"store://talk.jsonl holds 60; lower it"):
        refuse_shortage("spec.rehearsal.dataset.count", 61, "store://talk.jsonl", 60)
