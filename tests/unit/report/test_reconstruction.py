import pytest

from rehearsal.report.categories import parse
from rehearsal.report.reconstruction import EXAMPLES, EXCERPT, elicitation, excerpt, judging

CATEGORIES = parse(b"[{name: a, pattern: ^a, share: 0.5}]")


def row(member="base", decided="mean", **more):
    return {"instruction": "ask", "answer": "say", "member": member, "mean": 4.0, "decided": decided} | more


def test_instructions_are_counted_with_and_without_repetition():
    found = elicitation(["a1", "a1", "a2", "b"], {"empty": 2}, CATEGORIES)
    assert (found.rows, found.distinct, found.refused, found.unmatched) == (4, 3, {"empty": 2}, ["b"])
    assert found.shares.biggest_gap == pytest.approx(25.0)


def test_without_categories_there_are_no_shares_and_nothing_is_out_of_place():
    found = elicitation(["a", "b"], {}, ())
    assert (found.shares, found.unmatched) == (None, [])


def test_only_the_first_few_instructions_of_no_category_are_quoted():
    assert len(elicitation((f"b{i}" for i in range(100)), {}, CATEGORIES).unmatched) == EXAMPLES


def test_every_member_has_a_share_of_the_wins_even_of_none():
    found = judging([row("base"), row("base"), row("peer"), row("base")], {}, ["base", "peer", "third"])
    assert {name: won.share for name, won in found.wins.items()} == {"base": 0.75, "peer": 0.25, "third": 0.0}


def test_a_tie_is_what_the_mean_alone_did_not_decide():
    found = judging([row(decided=rule) for rule in ("mean", "only", "minimum", "sample", "sample")], {}, ["base"])
    assert found.decided == {"mean": 1, "minimum": 1, "only": 1, "sample": 2}
    assert found.ties.count == 3


def test_agreement_and_bias_are_read_from_what_select_sealed():
    facts = {"alpha": 0.31, "bias.base": 0.5, "bias.peer": -0.5, "selfPreference.base": 0.125, "rows": 4}
    found = judging([row()], facts, ["base"])
    assert (found.alpha, found.bias, found.self_preference) == (0.31, {"base": 0.5, "peer": -0.5}, {"base": 0.125})


def test_where_alpha_is_not_defined_it_is_absent_and_not_zero():
    assert judging([row()], {}, ["base"]).alpha is None


def test_quoted_text_is_cut_and_loses_what_cannot_be_stored_or_turns_the_page_around():
    assert excerpt("x" * (EXCERPT + 1)) == "x" * EXCERPT + "…"
    assert excerpt("line\n\ttab \x00\x1b[31m \u202eright to left \ud800 é") == "line\n\ttab ��[31m �right to left � é"


def test_half_a_surrogate_pair_in_a_models_text_does_not_stop_the_report():
    found = elicitation(["b\ud800"], {}, CATEGORIES)
    judged = judging([row(instruction="\udfff", answer="\ud800")], {}, ["base"])
    assert found.model_dump_json().encode()
    assert judged.model_dump_json().encode()
