"""What a task file may say, as types: every name that lm-evaluation-harness would look up comes from a list in this module.

Of its metrics these are the ones that are right or wrong for each question, because the report compares nothing else.
Answers are greedy, one a question. Not covered: groups of tasks, `include`, Python, data sets of the hub, images, audio.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rehearsal.store.keys import is_key

OutputType = Literal["generate_until", "multiple_choice", "loglikelihood"]
MetricName = Literal["exact_match", "acc", "acc_norm", "acc_bytes"]
METRICS: Mapping[OutputType, frozenset[MetricName]] = {
    "generate_until": frozenset({"exact_match"}),
    "multiple_choice": frozenset({"acc", "acc_norm", "acc_bytes", "exact_match"}),
    "loglikelihood": frozenset({"acc"}),
}
"""The metrics that are 0 or 1 for each question, by the kind of question."""

MAX_SHOTS = 100
MAX_ANSWER_TOKENS = 1_000_000
SUFFIXES = (".jsonl", ".json")


def _plain_name(name: str) -> str:
    if "/" in name or not is_key(name) or not name.endswith(SUFFIXES):
        raise ValueError("must name a .jsonl or .json file beside the task file")
    return name


def _one_or_more(given: object) -> object:
    return [given] if isinstance(given, str) else given


def _by_split(given: object) -> object:
    """`datasets` calls the split of files without one `train`."""
    return given if isinstance(given, dict) else {"train": given}


Text = Annotated[str, Field(min_length=1)]
Template = Annotated[str, Field(min_length=1, max_length=2**16)]
"""A jinja2 template, or the name of a field of the rows."""
Pattern = Annotated[str, Field(min_length=1, max_length=2**10)]
FileName = Annotated[str, AfterValidator(_plain_name)]
FileNames = Annotated[list[FileName], BeforeValidator(_one_or_more), Field(min_length=1)]


class _Part(BaseModel):
    """Read strictly: no text for a number, no key that is not listed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Dataset(_Part):
    """Where the rows are: files beside the task file, by split."""

    data_files: Annotated[dict[Text, FileNames], BeforeValidator(_by_split), Field(min_length=1)]


class Generation(_Part):
    """How an answer is written: greedily, up to a stop string."""

    until: Text | list[Text] | None = None
    do_sample: Literal[False] = False
    temperature: float = Field(0, ge=0, le=0)
    max_gen_toks: int = Field(256, ge=1, le=MAX_ANSWER_TOKENS)


class Metric(_Part):
    """A metric of right and wrong. The four `ignore`s are for `exact_match` of written answers."""

    metric: MetricName
    aggregation: Literal["mean"] = "mean"
    higher_is_better: Literal[True] = True
    regexes_to_ignore: list[Pattern] | None = None
    ignore_case: bool = False
    ignore_punctuation: bool = False
    ignore_numbers: bool = False


class PlainStep(_Part):
    """A step without settings. `take_first` ends every pipeline: what follows would see letters for answers."""

    function: Literal["take_first", "remove_whitespace", "lowercase", "uppercase"]


class RegexStep(_Part):
    """Finds the answer in what was written: the first match or the last."""

    function: Literal["regex"]
    regex_pattern: Pattern
    group_select: Literal[0, -1] = 0
    fallback: str = "[invalid]"


class MapStep(_Part):
    """Replaces what was written by what it stands for."""

    function: Literal["map"]
    mapping_dict: dict[str, str]
    default_value: str


class Pipeline(_Part):
    """The steps between what was written and what is scored."""

    name: Text
    filter: Annotated[list[Annotated[PlainStep | RegexStep | MapStep, Field(discriminator="function")]], Field(min_length=1)]


class FewShot(_Part):
    """How solved examples differ from the question: another split, other templates; or the examples themselves."""

    sampler: Literal["default", "first_n"] = "default"
    split: Text | None = None
    samples: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    doc_to_text: Template | None = None
    doc_to_target: Template | None = None
    doc_to_choice: Template | list[Text] | None = None
    gen_prefix: Template | None = None
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"


class TaskConfig(_Part):
    """A task file. Keys, values and defaults are those of lm-evaluation-harness 0.4.13; a test holds them to it."""

    task: Text
    task_alias: str | None = None
    tag: str | list[str] | None = None
    metadata: dict[str, str | int | float | bool | None] | None = None
    dataset_path: Literal["json"]
    dataset_kwargs: Dataset
    training_split: Text | None = None
    validation_split: Text | None = None
    test_split: Text | None = None
    fewshot_split: Text | None = None
    fewshot_config: FewShot | None = None
    num_fewshot: int = Field(0, ge=0, le=MAX_SHOTS)
    description: str | None = Field(None, max_length=2**16)
    doc_to_text: Template
    doc_to_target: Template | Annotated[int, Field(ge=0)]
    doc_to_choice: Template | list[Text] | dict[str, Text] | None = None
    gen_prefix: Template | None = None
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    output_type: OutputType = "generate_until"
    generation_kwargs: Generation | None = None
    repeats: Literal[1] = 1
    filter_list: Annotated[list[Pipeline], Field(min_length=1)] | None = None
    metric_list: Annotated[list[Metric], Field(min_length=1)]

    @property
    def asked(self) -> str:
        """The split whose rows are the questions."""
        return str(self.test_split or self.validation_split)

    @property
    def shots_from(self) -> str | None:
        """The split that solved examples are drawn from; None where there are none, or where the file brings them."""
        if not self.num_fewshot:
            return None
        return (self.fewshot_config and self.fewshot_config.split) or (None if self.samples else self.fewshot_split)

    @property
    def samples(self) -> list[dict[str, Any]]:
        """The solved examples that the file itself brings."""
        return (self.fewshot_config and self.fewshot_config.samples) or []

    @property
    def templates(self) -> Iterator[tuple[str, str]]:
        """Every template or name of a field, with the key that it is written under."""
        names = ("description", "doc_to_text", "doc_to_target", "doc_to_choice", "gen_prefix")
        for prefix, part in (("", self), ("fewshot_config.", self.fewshot_config)):
            for name in names:
                if isinstance(template := getattr(part, name, None), str):
                    yield prefix + name, template

    @property
    def patterns(self) -> Iterator[tuple[str, str]]:
        """Every regular expression, with the key that it is written under."""
        for index, pipeline in enumerate(self.filter_list or []):
            for place, step in enumerate(pipeline.filter):
                if isinstance(step, RegexStep):
                    yield f"filter_list[{index}].filter[{place}].regex_pattern", step.regex_pattern
        for index, metric in enumerate(self.metric_list):
            for place, pattern in enumerate(metric.regexes_to_ignore or []):
                yield f"metric_list[{index}].regexes_to_ignore[{place}]", pattern


def contradictions(config: TaskConfig) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) where keys that are fine alone do not fit each other."""
    yield from _of_splits(config)
    yield from _of_shots(config)
    yield from _of_scoring(config)


def _of_splits(config: TaskConfig) -> Iterator[tuple[str, str]]:
    splits = config.dataset_kwargs.data_files
    named = {key: getattr(config, key) for key in ("training_split", "validation_split", "test_split", "fewshot_split")}
    named["fewshot_config.split"] = config.fewshot_config and config.fewshot_config.split
    for key, split in named.items():
        if split and split not in splits:
            yield key, f"dataset_kwargs.data_files has no such split; it has {', '.join(sorted(splits))}"
    if not config.test_split and not config.validation_split:
        yield "test_split", "test_split or validation_split must name the split whose rows are asked"


def _of_shots(config: TaskConfig) -> Iterator[tuple[str, str]]:
    if not config.num_fewshot:
        return
    if not config.shots_from and not config.samples:
        yield "num_fewshot", "fewshot_split must name the split that solved examples come from"
    if config.samples and (config.fewshot_split or config.shots_from):
        yield "fewshot_config.samples", "examples come from the file or from a split; leave one of the two out"


def _of_scoring(config: TaskConfig) -> Iterator[tuple[str, str]]:
    known = METRICS[config.output_type]
    for index, metric in enumerate(config.metric_list):
        key = f"metric_list[{index}]"
        if metric.metric not in known:
            yield f"{key}.metric", f"output_type {config.output_type} is scored by {', '.join(sorted(known))}"
        elif config.output_type != "generate_until" and metric.model_fields_set & _IGNORES:
            yield key, f"only exact_match of output_type generate_until has {', '.join(sorted(_IGNORES))}"
    if config.output_type != "generate_until":
        for key in ("filter_list", "generation_kwargs"):
            if getattr(config, key) is not None:
                yield key, f"nothing is written for output_type {config.output_type}; remove it"
    names = [pipeline.name for pipeline in config.filter_list or []]
    for index, pipeline in enumerate(config.filter_list or []):
        if pipeline.name in names[:index]:
            yield f"filter_list[{index}].name", "another pipeline has this name, and the harness would keep one of them"
        functions = [step.function for step in pipeline.filter]
        if functions[-1] != "take_first" or functions.count("take_first") > 1:
            yield f"filter_list[{index}].filter", "take_first must be the last function, and stand nowhere else"
    if config.output_type == "multiple_choice" and config.doc_to_choice is None:
        yield "doc_to_choice", "output_type multiple_choice needs the choices"
    if config.output_type == "loglikelihood" and config.doc_to_choice is not None:
        yield "doc_to_choice", "output_type loglikelihood has no choices; use multiple_choice, or remove it"


_IGNORES = frozenset({"regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers"})
