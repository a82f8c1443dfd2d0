"""Whether a model suits the run, before a GPU is asked for: chat template, rating tokens, data in its tokens, training, memory, disk.

Preflight asks it of models in the store; a stage that fetches a model asks it before the weights come.
"""

from collections.abc import Iterable
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
from rehearsal.worker.training.architecture import check_trainable
from rehearsal.worker.training.disk import check_scratch
from rehearsal.worker.training.memory import Machine, decide
from rehearsal.worker.training.shape import ModelShape
from rehearsal.worker.weights import WeightFile, parameters, read_weights

MODE = "spec.rehearsal.reconstructed.judging.mode"


def check_model_suits(context: Context, name: str, folder: Path, weights: Iterable[WeightFile]) -> Facts:
    """Refuse a model that cannot play its part; `name` is that of its external input, `folder` holds all but its weights.

    The base model answers with what preflight tells of the data. Of its weights the headers are read, of another model's nothing.
    """
    with ChatModel.load(folder) as model:
        _check_ratings(context.spec, name, model)
        if name != BASE:
            return {}
        if made := context.spec.reconstructed:
            model.pre_query(made.pre_query.text)
            check_room(context.spec, made, model)
        facts = check_data(context, model)
    _check_training(context, folder, weights)
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


def _check_training(context: Context, folder: Path, files: Iterable[WeightFile]) -> None:
    """Refuse a model that cannot be trained or exported again, and a fine-tune that cannot fit memory or disk."""
    training, weights = context.spec.training, read_weights(files)
    config = read_config(folder, "spec.baseModel")
    check_trainable(folder, config, weights)
    model = ModelShape.of(config, parameters(weights))
    decide(model, training, Machine.of(context.task))
    check_scratch(model, training, context.task.train_scratch)
