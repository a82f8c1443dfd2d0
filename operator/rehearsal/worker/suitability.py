"""Whether a model suits the run, before a GPU is asked for: chat template, rating tokens, the data in its tokens, memory, disk.

Preflight asks it of models in the store; a stage that fetches a model asks it before the weights come.
"""

import json
from pathlib import Path

from rehearsal.api.messages import Refused
from rehearsal.api.reconstruction import JudgingMode
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.external import BASE
from rehearsal.pipeline.reconstruction import judges, member_input
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.prequery import derive_pre_query
from rehearsal.prompts.ratings import rating_place
from rehearsal.worker.context import Context
from rehearsal.worker.data_checks import Facts, check_data
from rehearsal.worker.room import check_room
from rehearsal.worker.training.disk import check_scratch
from rehearsal.worker.training.memory import Machine, ModelShape, decide

MODE = "spec.rehearsal.reconstructed.judging.mode"


def check_model_suits(context: Context, name: str, folder: Path, weight_bytes: int) -> Facts:
    """Refuse a model that cannot play its part; `name` is that of its external input, `folder` holds all but its weights.

    The base model answers with what preflight tells of the data.
    """
    tokenizer = ChatTokenizer.load(folder)
    _check_ratings(context.spec, name, tokenizer)
    if name != BASE:
        return {}
    if made := context.spec.reconstructed:
        derive_pre_query(tokenizer, made.pre_query.text)
        check_room(context.spec, made, tokenizer)
    facts = check_data(context, tokenizer)
    _check_size(context, folder, weight_bytes)
    return facts


def check_endpoints(spec: RunSpec) -> None:
    """Refuse a way of judging that a service behind an endpoint cannot be asked for."""
    if not (made := spec.reconstructed) or made.judging.mode is not JudgingMode.LOG_PROB:
        return
    for judge in judges(made):
        if judge.endpoint:
            raise Refused(
                f"{MODE}: LogProb reads the probabilities of rating tokens, which judge {judge.name} cannot give behind an endpoint; "
                "use Justify, or leave it out of judging.judges"
            )


def _check_ratings(spec: RunSpec, name: str, tokenizer: ChatTokenizer) -> None:
    if not (made := spec.reconstructed) or made.judging.mode is not JudgingMode.LOG_PROB:
        return
    for judge in judges(made):
        if not judge.endpoint and member_input(judge) == name:
            try:
                rating_place(tokenizer)
            except Refused as error:
                raise Refused(f"{MODE}: LogProb with judge {judge.name}: {error}") from error


def _check_size(context: Context, folder: Path, weight_bytes: int) -> None:
    """Refuse a fine-tune that cannot fit memory or disk, by the size of the weights: none is read."""
    limits, training = context.task.limits, context.spec.training
    model = ModelShape.of(json.loads((folder / "config.json").read_bytes()), weight_bytes)
    decide(model, training, Machine.of(limits, limits.use_cpu))
    check_scratch(model, training, context.task.train_scratch)
