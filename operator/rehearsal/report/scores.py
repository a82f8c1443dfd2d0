"""From per-question results of base and tuned model to the score table. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rehearsal.api.messages import CorruptInput
from rehearsal.report.contents import Comparison, Evaluation, Score
from rehearsal.report.statistics import Interval, Paired, Unpaired, difference_interval, mcnemar, mean_of, pair, wilson

BOOTSTRAP_SEED = 0
"""Fixed, so that the same results always give the same report."""


@dataclass
class Results:
    """One task's answers of one model: question id -> right."""

    task: str
    role: str
    metric: str
    answers: dict[str, bool] = field(default_factory=dict)


def collect(rows: Iterable[Mapping[str, object]], model: str) -> dict[str, Results]:
    """Gather the rows {id, task, role, correct, metric} of one model by task, or raise CorruptInput naming the row."""
    found: dict[str, Results] = {}
    for row in rows:
        key, task = str(row["id"]), str(row["task"])
        results = found.setdefault(task, Results(task, str(row["role"]), str(row["metric"])))
        if key in results.answers:
            raise CorruptInput(f"the {model} model's results hold question {key} of task {task} twice; evaluate again")
        if row["correct"] not in (0, 1):
            raise CorruptInput(f"question {key} of task {task} is neither right nor wrong in the {model} model's results")
        results.answers[key] = bool(row["correct"])
    return found


def evaluation(base: Mapping[str, Results], tuned: Mapping[str, Results], baseline: str) -> Evaluation:
    """Compare two models task by task and role by role; raise Unpaired naming what only one of them answered."""
    if alone := sorted(base.keys() ^ tuned.keys()):
        raise Unpaired(f"only one of the two models was evaluated on {', '.join(alone)}; evaluate both with the same tasks")
    paired: dict[str, Paired] = {}
    for name, results in base.items():
        try:
            paired[name] = pair(results.answers, tuned[name].answers)
        except Unpaired as error:
            raise Unpaired(f"task {name}: {error}") from error
    roles: dict[str, list[str]] = {}
    for name, results in base.items():
        roles.setdefault(results.role, []).append(name)
    return Evaluation(
        baseline=baseline,
        tasks=[_compare(name, results.role, results.metric, [paired[name]]) for name, results in base.items()],
        roles=[
            _compare(role, role, " and ".join(sorted({base[n].metric for n in names})), [paired[n] for n in names])
            for role, names in sorted(roles.items(), key=lambda entry: entry[0] != "General")
        ],
    )


def _compare(name: str, role: str, metric: str, tasks: Sequence[Paired]) -> Comparison:
    base = _score([(task.before, task.questions) for task in tasks])
    tuned = _score([(task.after, task.questions) for task in tasks])
    lost, gained = sum(task.lost for task in tasks), sum(task.gained for task in tasks)
    gain = difference_interval(tasks, BOOTSTRAP_SEED)
    return Comparison(
        name=name,
        role=role,
        metric=metric,
        questions=sum(task.questions for task in tasks),
        base=base,
        tuned=tuned,
        lost=lost,
        gained=gained,
        p_value=mcnemar(lost, gained),
        forgetting=(base.value - tuned.value) * 100,
        forgetting_interval=Interval(_less(gain.high) * 100, _less(gain.low) * 100),
    )


def _score(counts: Sequence[tuple[int, int]]) -> Score:
    shares = [right / questions for right, questions in counts]
    value, interval = mean_of(shares, [wilson(right, questions) for right, questions in counts])
    return Score(value=value, interval=interval)


def _less(gain: float) -> float:
    return 0.0 - gain  # unary minus would write "-0.0" into report.json
