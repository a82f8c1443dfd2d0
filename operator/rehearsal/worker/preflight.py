"""Everything that can be known before a GPU is asked for: the store, the models, the data, the arithmetic.

Answers with the digest of every external input, and with the seals that are in the store already. Seals nothing itself.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from rehearsal.api.messages import Refused, Termination
from rehearsal.api.reconstruction import JudgingMode
from rehearsal.api.run import DataFormat, RunSpec
from rehearsal.data.formats import read_conversations
from rehearsal.data.mixture import plan_mixture
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.reconstruction import judges, member_input
from rehearsal.pipeline.stage import MAX_ROUNDS
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stages import stages_of
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.masks import tokenise_sample
from rehearsal.prompts.prequery import derive_pre_query
from rehearsal.prompts.ratings import rating_place
from rehearsal.prompts.template import UnencodableError
from rehearsal.report.categories import parse
from rehearsal.store.commit import Artifact
from rehearsal.store.objects import NotFound, Objects
from rehearsal.worker.context import Context
from rehearsal.worker.inputs import as_messages, file_digest, key_of
from rehearsal.worker.models import bring_model, check_model, model_digest
from rehearsal.worker.tasks import check_task, task_digest
from rehearsal.worker.training.memory import Machine, ModelShape, decide

PROBE = "preflight/create-if-absent"


def run(context: Context) -> Termination:
    """Check the run and report; raises Refused with the first thing that is wrong."""
    spec, objects = context.spec, context.objects
    probe_store(objects, context.task.namespace)
    inputs = dict(_digests(spec, objects))
    facts: dict[str, str | int | float] = {}
    tokenizers = {name: _tokenizer(context, name, inputs[name]) for name in inputs if _is_model(name)}
    _check_templates(spec, tokenizers)
    facts |= _check_data(context, tokenizers["baseModel"])
    _check_memory(context, context.scratch / "baseModel")
    if spec.categories:
        parse(objects.get(key_of(spec.categories.uri)))
    return Termination(inputs=inputs, sealed=_seals(context, inputs), facts=facts)


def probe_store(objects: Objects, namespace: str) -> None:
    """Refuse a store that lets two writers create the same object: everything else rests on it."""
    key = f"{namespace}/{PROBE}"
    objects.create(key, b"")
    if objects.create(key, b""):
        raise Refused("the store ignores create-if-absent (If-None-Match): two writers would overwrite each other", "StoreUnsafe")


def _is_model(name: str) -> bool:
    return name == "baseModel" or name.startswith("model-")


def _digests(spec: RunSpec, objects: Objects) -> Iterator[tuple[str, str]]:
    """Yield the digest of every external input, each checked first."""
    for name, uri in external_inputs(spec).items():
        field = _field(spec, name)
        if _is_model(name):
            check_model(objects, uri, field)
            yield name, model_digest(objects, uri)
        elif name.startswith("task-"):
            check_task(objects, uri, field, name.removeprefix("task-"))
            yield name, task_digest(objects, uri, field)
        else:
            yield name, file_digest(objects, uri, field)


def _field(spec: RunSpec, name: str) -> str:
    """The manifest's field that names an external input."""
    if name.startswith("model-") and spec.reconstructed:
        names = [member.name for member in spec.reconstructed.committee.members]
        index = names.index(name.removeprefix("model-"))
        return f"spec.rehearsal.reconstructed.committee.members[{index}].model.uri"
    if name.startswith("task-"):
        index = [task.name for task in spec.evaluation.tasks].index(name.removeprefix("task-"))
        return f"spec.evaluation.tasks[{index}].uri"
    return {"dataset": "spec.rehearsal.dataset.uri"}.get(name, f"spec.{name}.uri")


def _tokenizer(context: Context, name: str, digest: str) -> ChatTokenizer:
    folder = context.scratch / name
    bring_model(context.objects, external_inputs(context.spec)[name], digest, folder, weights=False)
    return ChatTokenizer.load(folder)


def _check_templates(spec: RunSpec, tokenizers: dict[str, ChatTokenizer]) -> None:
    if not (made := spec.reconstructed):
        return
    derive_pre_query(tokenizers["baseModel"], made.pre_query.text)
    if made.judging.mode is JudgingMode.LOG_PROB:
        for judge in judges(made):
            try:
                rating_place(tokenizers[member_input(judge)])
            except Refused as error:
                raise Refused(f"spec.rehearsal.reconstructed.judging.mode: LogProb with judge {judge.name}: {error}") from error


def _check_data(context: Context, tokenizer: ChatTokenizer) -> dict[str, str | int | float]:
    """Read the data sets row by row, and see that there is enough of them for the mix."""
    spec = context.spec
    domain, long = _usable(context, spec.domain.uri, "spec.domain.uri", spec.domain.format, tokenizer)
    rehearsal: int | None = None
    if spec.reconstructed:
        rehearsal = spec.reconstructed.count
    elif (dataset := spec.rehearsal.dataset) and dataset.uri:
        rehearsal, _ = _usable(context, dataset.uri, "spec.rehearsal.dataset.uri", dataset.format, tokenizer)
        rehearsal = min(rehearsal, dataset.count or rehearsal)
    plan = plan_mixture(rehearsal, domain, spec.mixture)
    return {"domainRows": domain, "domainTooLong": long, "mixRows": plan.total}


def _usable(context: Context, uri: str, field: str, layout: DataFormat, tokenizer: ChatTokenizer) -> tuple[int, int]:
    """Return how many rows of a data file can be trained on, and how many are too long."""
    path = context.scratch / Path(key_of(uri)).name
    try:
        context.objects.download(key_of(uri), path)
    except NotFound:
        raise Refused(f"{field}: there is no {uri} in the store; upload it, or correct the path", "InputMissing") from None
    fit = long = 0
    for conversation in read_conversations(path, layout, uri):
        try:
            sample = tokenise_sample(tokenizer, as_messages(conversation.messages))
        except UnencodableError as error:
            raise Refused(f"{uri}, line {conversation.line}: {error}", "BadData") from error
        if len(sample.ids) > context.spec.training.sequence_length:
            long += 1
        else:
            fit += 1
    return fit, long


def _check_memory(context: Context, tokenizers: Path) -> None:
    """Refuse a fine-tune that cannot fit, by the sizes in the store: no weight is read."""
    limits, training = context.task.limits, context.spec.training
    if training.processes_per_node > limits.max_ranks:
        raise Refused(
            f"spec.training.processesPerNode: {training.processes_per_node} ranks a pod, and this platform's pods hold {limits.max_ranks}",
            "DoesNotFit",
        )
    prefix = f"{key_of(context.spec.base_model.uri)}/"
    weights = [key for key in context.objects.list(prefix) if key.endswith(".safetensors")]
    size = sum(context.objects.stat(key).size for key in weights)
    config = json.loads((tokenizers / "config.json").read_bytes())
    decide(ModelShape.of(config, size), training, Machine.of(limits, limits.use_cpu))


def _seals(context: Context, inputs: dict[str, str]) -> dict[str, str]:
    """Return the stages whose output is in the store already."""
    table = stages_of(context.spec, MAX_ROUNDS)
    known = fingerprints(table, inputs)
    found = {}
    for stage in table:
        artifact = Artifact(context.objects, context.task.namespace, stage.kind, known[stage.name], stage.name)
        if manifest := artifact.manifest():
            found[stage.name] = manifest.digest
    return found
