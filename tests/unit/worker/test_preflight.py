"""Everything that is wrong with a run and can be known before an engine starts is told by field, file and line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rehearsal.prompts.model
from rehearsal.api.messages import Refused, StageError
from rehearsal.api.platform import FolderStore as FolderConfig
from rehearsal.api.platform import Limits, Resources, StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stages import stages_of
from rehearsal.report.categories import parse
from rehearsal.store.commit import Artifact
from rehearsal.store.folder import FolderStore
from rehearsal.worker import preflight
from rehearsal.worker.context import Context
from tests.unit.worker.models_in_store import LLAMA, LLAMA_WEIGHTS, a_spec, a_store, put_model, safetensors, talking_model

TASK = b"""\
task: general
dataset_path: json
dataset_kwargs: {data_files: {test: general.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: '{{q}}'
doc_to_target: '{{a}}'
metric_list: [{metric: exact_match}]
"""


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = a_store(tmp_path / "store")
    for path in ("base", "peer"):
        put_model(store, path, talking_model(tmp_path / "files"))
    write_domain(store, 20)
    store.put("eval/general.yaml", TASK)
    store.put("eval/general.jsonl", b'{"q": "a", "a": "b"}\n')
    return store


def write_domain(store: FolderStore, rows: int, **lines: str) -> None:
    written = [json.dumps({"prompt": f"What is fact {number}?", "response": "It is so."}) for number in range(1, rows + 1)]
    for line, text in lines.items():
        written[int(line.removeprefix("line")) - 1] = text
    store.put("domain.jsonl", "".join(f"{row}\n" for row in written).encode())


@pytest.fixture
def look(tmp_path: Path, store: FolderStore) -> Callable[..., Any]:
    def run(spec: RunSpec | None = None, train_scratch: str = "1Gi", train_memory: str = "100Gi", **limits: Any) -> Any:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        task = Task(
            namespace="research",
            run="medical",
            stage="preflight",
            spec=spec or changed(),
            store=StoreConfig(folder=FolderConfig(path=str(store.root))),
            limits=Limits(**limits),
            train_scratch=train_scratch,
            train_pod=Resources(memory=train_memory),
        )
        return preflight.run(Context(task, store, scratch, tmp_path / "model"))

    return run


def changed(**changes: Any) -> RunSpec:
    return RunSpec.model_validate(a_spec(count=20, evaluated=True).wire() | {"training": {"sequenceLength": 128}} | changes)


def refusal(look: Callable[..., Any], *arguments: Any, **limits: Any) -> str:
    with pytest.raises(Refused) as refused:
        look(*arguments, **limits)
    return str(refused.value)


def test_a_good_run_has_every_input_pinned_and_knows_what_is_sealed(look: Callable[..., Any]) -> None:
    word = look()
    assert set(word.inputs) == {"baseModel", "model-peer", "domain", "task-general"}
    assert all(len(digest) == 64 for digest in word.inputs.values())
    assert word.sealed == {}
    assert word.facts["domainRows"] == 20


def test_seals_that_are_in_the_store_are_found(look: Callable[..., Any], store: FolderStore) -> None:
    known = fingerprints(stages_of(changed()), look().inputs)
    seal = Artifact(store, "research", "elicit", known["elicit"], "elicit")
    seal.commit_shard(0, [])
    manifest = seal.seal(1)
    assert look().sealed == {"elicit": manifest.digest}


def test_a_broken_line_17_of_the_domain_file_is_named(look: Callable[..., Any], store: FolderStore) -> None:
    write_domain(store, 20, line17='{"prompt": "What')
    assert "store://domain.jsonl, line 17" in refusal(look)


def test_a_missing_domain_file_is_named_by_field(look: Callable[..., Any]) -> None:
    words = refusal(look, changed(domain={"uri": "store://absent.jsonl"}))
    assert "spec.domain.uri: there is no store://absent.jsonl in the store" in words


@pytest.mark.parametrize("uri", ["store://baseModel", "store://base", "store://base/config.json/x", "store://domain"])
def test_a_path_that_names_no_file_is_named_by_field(look: Callable[..., Any], uri: str) -> None:
    assert f"spec.domain.uri: there is no {uri} in the store" in refusal(look, changed(domain={"uri": uri}))
    assert f"spec.categories.uri: there is no {uri} in the store" in refusal(look, changed(categories={"uri": uri}))


def test_a_tokenizer_that_panics_on_a_row_is_told_with_the_row(look: Callable[..., Any], store: FolderStore) -> None:
    core = json.loads(store.get("base/tokenizer.json"))
    core["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "x"}
    store.put("base/tokenizer.json", json.dumps(core).encode())
    write_domain(store, 20, line3=json.dumps({"prompt": "a" * 40 + "b", "response": "b"}))
    assert "store://domain.jsonl, line 3: the model's tokenizer fails on it (PanicException)" in refusal(look)


def test_a_template_that_takes_no_end_is_refused(look: Callable[..., Any], store: FolderStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(rehearsal.prompts.model, "SECONDS", 1)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    store.put("base/chat_template.jinja", loop.encode())
    assert "the tokenizer or chat template took more than 1 s of processor time" in refusal(look)


def test_a_missing_model_is_named_by_field(look: Callable[..., Any]) -> None:
    assert "spec.baseModel.uri: store://absent: there is no such model" in refusal(
        look, changed(baseModel={"uri": "store://absent"})
    )


def test_a_pickle_beside_the_weights_is_refused_with_the_members_field(look: Callable[..., Any], store: FolderStore) -> None:
    store.put("peer/pytorch_model.bin", b"")
    words = refusal(look)
    assert "committee.members[1].model.uri" in words
    assert "pytorch_model.bin: pickle files can run code" in words


def test_too_few_domain_rows_for_the_mix_are_refused_with_the_arithmetic(look: Callable[..., Any], store: FolderStore) -> None:
    write_domain(store, 2)
    assert "there are 2" in refusal(look)


def test_bounds_under_which_no_conversation_fits_are_refused_before_an_engine_starts(look: Callable[..., Any]) -> None:
    made = changed().wire()["rehearsal"]["reconstructed"] | {"sampling": {"maxTokens": 500}, "filters": {"length": {"min": 120}}}
    words = refusal(look, changed(rehearsal={"reconstructed": made}))
    assert words.startswith("spec.training.sequenceLength: the shortest conversation that this run could select has ")
    assert words.endswith("and 128 fit; raise it, or lower filters.length.min")


def test_a_missing_task_file_is_named(look: Callable[..., Any]) -> None:
    tasks = {"tasks": [{"name": "general", "uri": "store://eval/absent.yaml"}]}
    assert "spec.evaluation.tasks[0].uri" in refusal(look, changed(evaluation=tasks))


def test_more_ranks_than_a_pod_holds_are_refused(look: Callable[..., Any]) -> None:
    assert "8 ranks a pod, and this platform's pods hold 2" in refusal(look, max_ranks=2)


def test_more_nodes_than_the_platform_has_are_refused(look: Callable[..., Any]) -> None:
    pair = changed(training={"nodes": 2})
    assert refusal(look, pair, max_nodes=1) == "spec.training.nodes: 2 nodes, and this platform has 1"


def test_a_model_that_cannot_fit_is_refused_with_the_arithmetic(look: Callable[..., Any]) -> None:
    assert "does not fit" in refusal(look, device_memory_gib=0.000001)


def test_preflight_reckons_with_the_memory_that_a_training_pod_asks_for(look: Callable[..., Any]) -> None:
    assert "A pod has 1.1 GB of host memory" in refusal(look, train_memory="1Gi", use_cpu=True)


UNPREFIXED = {name.removeprefix("model."): shape for name, shape in LLAMA_WEIGHTS.items()}


@pytest.mark.parametrize(
    ("config", "weights", "words"),
    [
        ({"model_type": "mixtral"}, safetensors(), "model type mixtral is not one of those that this release can train: arcee, "),
        ({"model_type": "gpt_neox"}, safetensors(), "model type gpt_neox is not one of those"),
        ({"model_type": ["llama"]}, safetensors(), "is not one of those"),
        (
            {},
            safetensors(UNPREFIXED),
            "embed_tokens.weight: transformers has none of that name, and the files one of shape [600, 8]",
        ),
        ({}, safetensors(LLAMA_WEIGHTS | {"model.rotary.inv_freq": (2,)}), "model.rotary.inv_freq: transformers has none"),
        ({"intermediate_size": 32}, safetensors(), "has one of shape [8, 32] of that name, and the files one of shape [8, 16]"),
        ({"num_hidden_layers": 10**9}, safetensors(), "says 1,000,000,000 layers and the files hold 12 tensors"),
        ({"num_hidden_layers": 2}, safetensors(), "model.layers.1.input_layernorm.weight: transformers has one of shape [8]"),
        ({"tie_word_embeddings": True}, safetensors(), "config.json ties lm_head.weight to the embedding, and the files hold one"),
        ({"quantization_config": {"bits": 4}}, safetensors(), "its weights are quantised (quantization_config)"),
        ({"num_labels": 10**9}, safetensors(), "building it needed more than 1536 MiB of memory"),
        ({}, safetensors(dtype="F8_E4M3"), "its weights are quantised (lm_head.weight)"),
        ({"rope_parameters": {"rope_type": "spiral"}}, safetensors(), "config.json describes no model that can be built"),
        ({"num_attention_heads": 0}, safetensors(), "config.json describes no model that can be built"),
        ({"hidden_act": "none of these"}, safetensors(), "config.json describes no model that can be built"),
        ({"vocab_size": "many"}, safetensors(), "does not say vocab_size as a number"),
        ({}, safetensors()[:-1], ": copy the model again"),
        ({}, b"no weights", "model.safetensors is not a safetensors file"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_before_an_engine_starts(
    look: Callable[..., Any], store: FolderStore, config: dict[str, Any], weights: bytes, words: str
) -> None:
    store.put("base/config.json", json.dumps(LLAMA | config).encode())
    store.put("base/model.safetensors", weights)
    assert words in refusal(look)


def test_a_member_that_cannot_be_trained_may_answer_and_judge(look: Callable[..., Any], store: FolderStore) -> None:
    store.put("peer/config.json", json.dumps(LLAMA | {"model_type": "mixtral"}).encode())
    assert look().inputs


def test_files_of_weights_that_nothing_loads_neither_count_nor_refuse(look: Callable[..., Any], store: FolderStore) -> None:
    store.put("base/consolidated.safetensors", safetensors({"layers.0.attention.wq.weight": (10**5, 10**3)}))
    assert look(device_memory_gib=16).inputs


def test_a_model_whose_checkpoints_do_not_fit_a_pods_scratch_is_refused(look: Callable[..., Any]) -> None:
    assert "The platform's trainScratch is 1" in refusal(look, train_scratch="1")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_configuration_of_a_senseless_length_is_refused_before_it_is_read(
    look: Callable[..., Any], store: FolderStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store.put(f"base/{name}", b"{}".ljust(17 * 2**20))
    read: list[str] = []
    get = FolderStore.get
    monkeypatch.setattr(FolderStore, "get", lambda self, key: read.append(key) or get(self, key))
    assert f"spec.baseModel.uri: store://base/{name}: is longer than 16 MiB" in refusal(look)
    assert f"base/{name}" not in read


def test_a_categories_file_of_a_senseless_length_is_refused_and_not_read_to_its_end(
    look: Callable[..., Any], store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("categories.yaml", b"- {name: a, pattern: b}\n" * 40_000)
    lengths: list[int] = []
    monkeypatch.setattr(preflight, "parse", lambda data: lengths.append(len(data)) or parse(data))
    assert "is longer than 256 KiB" in refusal(look, changed(categories={"uri": "store://categories.yaml"}))
    assert lengths == [256 * 2**10 + 1]


def test_wrong_categories_are_refused(look: Callable[..., Any], store: FolderStore) -> None:
    store.put("categories.yaml", b"- {name: a, pattern: '('}\n")
    assert "categor" in refusal(look, changed(categories={"uri": "store://categories.yaml"})).lower()


@pytest.mark.fault(32)
def test_a_store_that_ignores_create_if_absent_is_refused(look: Callable[..., Any], store: FolderStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(store, "create", lambda key, data: True)
    with pytest.raises(StageError) as refused:
        look()
    assert refused.value.reason == "StoreUnsafe"
