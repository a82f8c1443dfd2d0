import pytest

from rehearsal.api.messages import CorruptInput
from rehearsal.report.scores import collect, evaluation
from rehearsal.report.statistics import Unpaired, mcnemar, wilson


def rows(task, role, right, start=0):
    return [
        {"id": f"q{number}", "task": task, "role": role, "correct": mark == "1", "metric": "exact_match"}
        for number, mark in enumerate(right, start=start)
    ]


def compared(base, tuned):
    return evaluation(collect(base, "base"), collect(tuned, "tuned"), "f" * 64)


def test_a_task_says_what_was_lost_what_was_gained_and_how_much_was_forgotten():
    task = compared(rows("facts", "General", "1111100000"), rows("facts", "General", "1000000001")).tasks[0]
    assert (task.base.value, task.tuned.value, task.lost, task.gained) == (0.5, 0.2, 4, 1)
    assert task.forgetting == pytest.approx(30.0)
    assert task.p_value == mcnemar(4, 1)
    assert task.forgetting_interval.low <= 30.0 <= task.forgetting_interval.high
    assert task.base.interval.low == pytest.approx(wilson(5, 10).low)


def test_a_role_is_the_mean_of_its_tasks_however_many_questions_each_has():
    base = rows("small", "General", "11") + rows("large", "General", "1" * 50 + "0" * 50) + rows("new", "Domain", "00")
    tuned = rows("small", "General", "00") + rows("large", "General", "1" * 50 + "0" * 50) + rows("new", "Domain", "11")
    found = compared(base, tuned)
    general, domain = found.role("General"), found.role("Domain")
    assert (general.base.value, general.tuned.value, general.forgetting) == (0.75, 0.25, 50.0)
    assert (general.questions, general.lost, general.gained) == (102, 2, 0)
    assert (domain.base.value, domain.tuned.value, domain.forgetting) == (0.0, 1.0, -100.0)
    assert [row.name for row in found.roles] == ["General", "Domain"]


def test_the_same_id_in_two_tasks_is_two_questions():
    both = rows("one", "General", "1") + rows("two", "General", "0")
    assert [task.questions for task in compared(both, both).tasks] == [1, 1]


def test_nothing_changed_is_written_as_nothing_and_never_as_minus_nothing():
    same = rows("facts", "General", "10")
    interval = compared(same, same).tasks[0].forgetting_interval
    assert (str(interval.low), str(interval.high)) == ("0.0", "0.0")


def test_a_question_that_only_one_model_answered_is_named_with_its_task():
    with pytest.raises(Unpaired, match=r"task facts: 1 questions .* q2"):
        compared(rows("facts", "General", "110"), rows("facts", "General", "11"))


def test_a_task_that_only_one_model_was_given_is_named():
    with pytest.raises(Unpaired, match="only one of the two models was evaluated on new"):
        compared(rows("facts", "General", "1"), rows("facts", "General", "1") + rows("new", "Domain", "1"))


def test_a_question_answered_twice_is_refused():
    with pytest.raises(CorruptInput, match="the tuned model's results hold question q0 of task facts twice"):
        collect(rows("facts", "General", "1") * 2, "tuned")


def test_an_answer_that_is_neither_right_nor_wrong_is_refused():
    with pytest.raises(CorruptInput, match="question q0 of task facts is neither right nor wrong"):
        collect([rows("facts", "General", "1")[0] | {"correct": 0.5}], "base")
