"""Brings a stage's model into the pod before its engine starts: from the store by digest, or from the stage that sealed it."""

from rehearsal.api.messages import Termination
from rehearsal.worker.context import Context
from rehearsal.worker.models import bring_model


def run(context: Context) -> Termination:
    """Leave the model in `context.model_dir`, every file whole and checked. What is there already is not brought again."""
    if "model" in context.stage.external:
        bring_model(context.objects, *context.external("model"), context.model_dir)
    else:
        context.input("model").fetch_files(context.model_dir)
    return Termination()
