"""Whether a model suits the run, before a GPU is asked for: chat template, rating tokens, the data in its tokens, memory, disk.

Preflight asks it of models in the store; a stage that fetches a model asks it before the weights come.
"""

from pathlib import Path

from rehearsal.api.messages import Refused
from rehearsal.api.reconstruction import JudgingMode
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.external import BASE
from rehearsal.pipeline.reconstruction import judges, member_input
from rehearsal.prompts.model import ChatModel
from rehearsal.worker.context import Context
from rehearsal.worker.data_checks import Facts, check_data
from rehearsal.worker.model_files import read_config
from rehearsal.worker.room import check_room
from rehearsal.worker.training.disk import check_scratch
from rehearsal.worker.training.memory import Machine, ModelShape, decide

MODE = "spec.rehearsal.reconstructed.judging.mode"


def check_model_suits(context: Context, name: str, folder: Path, weight_bytes: int) -> Facts:
    """Refuse a model that cannot play its part; `name` is that of its external input, `folder` holds all but its weights.

    The base model answers with what preflight tells of the data.
    """
    with ChatModel.load(folder) as model:
        _check_ratings(context.spec, name, model)
        if name != BASE:
            return {}
        if made := context.spec.reconstructed:
            model.pre_query(made.pre_query.text)
            check_room(context.spec, made, model)
        facts = check_data(context, model)
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


def _check_ratings(spec: RunSpec, name: str, model: ChatModel) -> None:
    if not (made := spec.reconstructed) or made.judging.mode is not JudgingMode.LOG_PROB:
        return
    for judge in judges(made):
        if not judge.endpoint and member_input(judge) == name:
            try:
                model.rating_place()
            except Refused as error:
                raise Refused(f"{MODE}: LogProb with judge {judge.name}: {error}") from error


def _check_size(context: Context, folder: Path, weight_bytes: int) -> None:
    """Refuse a fine-tune that cannot fit memory or disk, by the size of the weights: none is read."""
    limits, training = context.task.limits, context.spec.training
    model = ModelShape.of(read_config(folder, "spec.baseModel"), weight_bytes)
    decide(model, training, Machine.of(limits, limits.use_cpu))
    check_scratch(model, training, context.task.train_scratch)
