"""Everything that can be known before a GPU is asked for: the store, the models, the data, the arithmetic.

Answers with the digest of every external input, and with the seals that are in the store already. Seals nothing itself.
What is still on a hub is looked at by the stage that fetches it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from rehearsal.api.messages import Refused, Termination
from rehearsal.outside.yaml_text import MAX_BYTES
from rehearsal.pipeline.external import BASE, field_of, is_model, model_field
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs, sources_of
from rehearsal.pipeline.stage import MAX_ROUNDS, Stage
from rehearsal.pipeline.stages import stages_of
from rehearsal.report.categories import parse
from rehearsal.store.commit import Artifact
from rehearsal.store.objects import Objects
from rehearsal.worker.context import Context
from rehearsal.worker.data_checks import Facts, check_data, check_files_fit
from rehearsal.worker.inputs import look_at, read_input
from rehearsal.worker.model_files import Files, check_files, sealed, stored_weights, uploaded
from rehearsal.worker.models import bring_beside, model_digest
from rehearsal.worker.suitability import check_endpoints, check_model_suits
from rehearsal.worker.tasks.check import check_task
from rehearsal.worker.weights import WeightFile

NO_SUITES = "this release brings no suites yet; name task files in spec.evaluation.tasks"
PROBE = "preflight/create-if-absent"


def run(context: Context) -> Termination:
    """Check the run and report; raises Refused with the first thing that is wrong."""
    spec, objects = context.spec, context.objects
    probe_store(objects, context.task.namespace)
    if spec.evaluation.suite:
        raise Refused(f"spec.evaluation.suite: {NO_SUITES}", "NotAvailable")
    check_endpoints(spec)
    _check_ranks(context)
    check_files_fit(context)
    inputs = dict(_digests(context))
    context = replace(context, task=context.task.model_copy(update={"inputs": inputs}))
    outputs = _outputs(context, inputs)
    facts = _check_models(context, outputs)
    if spec.categories:
        parse(read_input(context, "categories", MAX_BYTES))
    found = {name: manifest.digest for name, artifact in outputs.items() if (manifest := artifact.manifest())}
    return Termination(inputs=inputs, sealed=found, facts=facts)


def probe_store(objects: Objects, namespace: str) -> None:
    """Refuse a store that lets two writers create the same object: everything else rests on it."""
    key = f"{namespace}/{PROBE}"
    objects.create(key, b"")
    if objects.create(key, b""):
        raise Refused("the store ignores create-if-absent (If-None-Match): two writers would overwrite each other", "StoreUnsafe")


def _check_ranks(context: Context) -> None:
    limits, training = context.task.limits, context.spec.training
    if training.nodes > limits.max_nodes:
        raise Refused(f"spec.training.nodes: {training.nodes} nodes, and this platform has {limits.max_nodes}", "DoesNotFit")
    if training.processes_per_node > limits.max_ranks:
        raise Refused(
            f"spec.training.processesPerNode: {training.processes_per_node} ranks a pod, and this platform's pods hold {limits.max_ranks}",
            "DoesNotFit",
        )


def _digests(context: Context) -> Iterator[tuple[str, str]]:
    """Yield the digest of every external input, each checked first. A data file's is that of the bytes that are read here."""
    objects = context.objects
    for name, uri in external_inputs(context.spec).items():
        field = field_of(context.spec, name)
        if is_model(name):
            check_files(objects, uploaded(objects, uri), uri, field)
            yield name, model_digest(objects, uri)
        elif name.startswith("task-"):
            yield name, check_task(objects, uri, field, name.removeprefix("task-"), context.scratch / "inputs" / name)
        else:
            yield name, look_at(context, name)


def _outputs(context: Context, inputs: Mapping[str, str]) -> dict[str, Artifact]:
    """Where every stage of the run seals its output, or would."""
    table: tuple[Stage, ...] = stages_of(context.spec, MAX_ROUNDS)
    known = fingerprints(table, inputs)
    namespace, objects = context.task.namespace, context.objects
    first_rounds_first = sorted(table, key=lambda stage: stage.round)
    return {stage.name: Artifact(objects, namespace, stage.kind, known[stage.name], stage.name) for stage in first_rounds_first}


def _check_models(context: Context, outputs: Mapping[str, Artifact]) -> Facts:
    """Check every model that is in the store; where the base model is not, read the data alone."""
    facts: Facts = {}
    there = dict(_models(context, outputs))
    for name, files in there.items():
        folder = context.scratch / name
        bring_beside(context.objects, files, folder)
        weights = stored_weights(context.objects, files, name, model_field(context.spec, name))
        headers = [WeightFile(path, file.size, partial(context.objects.start, file.key)) for path, file in weights.items()]
        facts |= check_model_suits(context, name, folder, headers)
    return facts if BASE in there else check_data(context, None)


def _models(context: Context, outputs: Mapping[str, Artifact]) -> Iterator[tuple[str, Files]]:
    sources = sources_of(context.spec)
    for name, source in sources.models.items():
        if source.external:
            yield name, uploaded(context.objects, sources.external[source.external])
        elif source.stage and outputs[source.stage].manifest():
            yield name, sealed(outputs[source.stage])
