"""Whether a run's own bounds leave room for any conversation at all: arithmetic that needs a tokenizer and no engine."""

from rehearsal.api.messages import Refused
from rehearsal.api.reconstruction import Reconstructed
from rehearsal.api.run import RunSpec
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.template import Message, UnencodableError


def check_room(spec: RunSpec, made: Reconstructed, model: ChatModel) -> None:
    """Refuse bounds under which no conversation can be trained on. A template that cannot carry one is told by the data's first row."""
    try:
        sample = model.sample([Message("user", "a"), Message("assistant", "a")])
    except UnencodableError:
        return
    least, longest = made.filters.length.min, spec.training.sequence_length
    if (shortest := len(sample.ids) - 1 + least) > longest:
        raise Refused(
            f"spec.training.sequenceLength: the shortest conversation that this run could select has {shortest:,} tokens (an instruction "
            f"of at least spec.rehearsal.reconstructed.filters.length.min {least:,}, the chat template, one token of an answer), and "
            f"{longest:,} fit; raise it, or lower filters.length.min",
            "NothingFits",
        )
