"""What comes from a hub: over real HTTP, by the hub's own client."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from rehearsal.api.messages import Refused, StageError, Termination, TooManyRefused, Unavailable
from rehearsal.api.platform import FolderStore as FolderConfig
from rehearsal.api.platform import Hub, Limits, StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.pipeline.fingerprint import fingerprints, output_path
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stages import stages_of
from rehearsal.store.folder import FolderStore
from rehearsal.worker import fetch, load_model, mix, preflight
from rehearsal.worker.context import Context
from rehearsal.worker.models import fetch_tokenizer
from tests.unit.worker.hub_server import COMMIT, HubServer
from tests.unit.worker.models_in_store import LLAMA, LLAMA_WEIGHTS, a_store, safetensors, talking_model

BASE = f"hf://meta/base@{COMMIT}"
SHARDS = {name: f"model-{2 if name == 'lm_head.weight' else 1}.safetensors" for name in LLAMA_WEIGHTS}
INDEX = json.dumps({"weight_map": SHARDS}).encode()
WEIGHTS = {
    "model-1.safetensors": safetensors({name: shape for name, shape in LLAMA_WEIGHTS.items() if name != "lm_head.weight"}),
    "model-2.safetensors": safetensors({"lm_head.weight": LLAMA_WEIGHTS["lm_head.weight"]}),
    "model.safetensors.index.json": INDEX,
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with one model. Whoever tests has neither a token nor the wish to stay offline, whatever the environment says."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    files = talking_model(tmp_path / "files") | {**WEIGHTS, "LICENSE.txt": b"be good"}
    del files["model.safetensors"]
    beside = {
        "consolidated.safetensors": b"twice",
        "original/params.json": b"{}",
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"",
    }
    with HubServer({"models/meta/base": files | beside}).running() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = a_store(tmp_path / "store")
    rows = [{"prompt": f"What is fact {number}?", "response": "It is so."} for number in range(20)]
    store.put("domain.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    return store


def a_spec(**changes: Any) -> RunSpec:
    made = {"count": 20, "committee": {"members": [{"name": "base", "base": True}]}}
    return RunSpec.model_validate(
        {
            "baseModel": {"uri": BASE},
            "rehearsal": {"reconstructed": made},
            "domain": {"uri": "store://domain.jsonl"},
            "training": {"sequenceLength": 128},
            **changes,
        }
    )


def preset(name: str, **more: Any) -> RunSpec:
    return a_spec(rehearsal={"dataset": {"preset": name, **more}})


@pytest.fixture
def stage(tmp_path: Path, store: FolderStore, hub: HubServer) -> Callable[..., Context]:
    def made(name: str = "fetch-base", spec: RunSpec | None = None) -> Context:
        spec = spec or a_spec()
        inputs = {name: store.stat(uri.removeprefix("store://")).sha256 for name, uri in external_inputs(spec).items()}
        task = Task(
            namespace="research",
            run="medical",
            stage=name,
            fingerprint=None if name == "preflight" else fingerprints(stages_of(spec), inputs)[name],
            spec=spec,
            inputs=inputs,
            store=StoreConfig(folder=FolderConfig(path=str(store.root))),
            hub=Hub(url=hub.url),
        )
        scratch = tmp_path / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)
        return Context(task, store, scratch, tmp_path / "model")

    return made


def ending(context: Context) -> StageError:
    with pytest.raises(StageError) as ended:
        fetch.run(context)
    return ended.value


def test_a_licence_that_is_no_name_is_kept_short_and_printable(stage: Callable[..., Context], hub: HubServer) -> None:
    hub.license = "\x1b[2J" + "x" * 10_000
    manifest = fetch.run(stage()).manifest
    assert manifest
    assert manifest.facts["license"] == "\\x1b[2J" + "x" * 92 + "…"


def test_a_model_comes_with_what_serving_needs_and_nothing_that_runs_code(stage: Callable[..., Context]) -> None:
    context = stage()
    manifest = fetch.run(context).manifest
    assert manifest
    beside = {"config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE.txt"}
    assert {file.path for file in manifest.files} == beside | WEIGHTS.keys()
    assert manifest.facts == {"repository": "meta/base", "revision": COMMIT, "license": "llama3"}
    assert not list(context.scratch.rglob("*.safetensors")), "weights leave scratch one by one"
    assert context.output.layout.prefix == output_path("research", context.stage, context.fingerprints)


def test_stages_read_the_fetched_model_as_they_read_one_of_the_store(stage: Callable[..., Context]) -> None:
    fetch.run(stage())
    engine = stage("elicit")
    load_model.run(engine)
    assert (engine.model_dir / "model-2.safetensors").read_bytes() == WEIGHTS["model-2.safetensors"]
    assert fetch_tokenizer(stage("mix"), "tokenizer").control_ids


def test_what_an_earlier_attempt_stored_is_not_fetched_again(stage: Callable[..., Context], hub: HubServer) -> None:
    hub.dishonest.add("model-2.safetensors")
    ending(stage())
    hub.dishonest.clear()
    fetch.run(stage())
    assert (hub.gets["model-1.safetensors"], hub.gets["model-2.safetensors"]) == (1, 2)
    fetch.run(stage())
    assert hub.gets["model-2.safetensors"] == 2, "the seal is there"


@pytest.mark.parametrize("name", ["model-1.safetensors", "tokenizer.json"])
def test_a_file_that_is_not_what_the_hub_announced_is_tried_again_and_never_sealed(
    stage: Callable[..., Context], hub: HubServer, name: str
) -> None:
    hub.dishonest = {name}
    error = ending(stage())
    assert isinstance(error, Unavailable)
    assert name in str(error)
    hub.dishonest.clear()
    assert fetch.run(stage()).manifest


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("config.json", b'{"auto_map": {"AutoModel": "x.Y"}}', "auto_map names code"),
        ("tokenizer_config.json", b"{}", "has no chat_template"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "model-3.safetensors"}}', "model-3.safetensors: is named by"),
        ("tokenizer.json", None, "tokenizer.json: is missing"),
        ("config.json", json.dumps(LLAMA | {"model_type": "mixtral"}).encode(), "model type mixtral is not one of those"),
        ("model-2.safetensors", b"short", "model-2.safetensors is not a safetensors file"),
        ("model-2.safetensors", safetensors({"head": (600, 8)}), "head: transformers has none of that name"),
        ("config.json", b"{}".ljust(17 * 2**20), "config.json: is longer than 16 MiB"),
    ],
)
def test_a_model_that_is_unfit_is_refused_before_its_weights_come(
    stage: Callable[..., Context], hub: HubServer, file: str, data: bytes | None, words: str
) -> None:
    files = hub.repositories["models/meta/base"]
    files.pop(file)
    files |= {file: data} if data else {}
    error = ending(stage())
    assert isinstance(error, Refused)
    assert words in str(error)
    assert not hub.gets["model-1.safetensors"]


def test_a_model_with_pickles_alone_is_refused(stage: Callable[..., Context], hub: HubServer) -> None:
    files = hub.repositories["models/meta/base"]
    hub.repositories["models/meta/base"] = {name: data for name, data in files.items() if "safetensors" not in name}
    assert "holds no safetensors file" in str(ending(stage()))


def test_what_preflight_asks_of_a_model_in_the_store_is_asked_of_a_fetched_one(
    stage: Callable[..., Context], store: FolderStore, hub: HubServer
) -> None:
    store.put("domain.jsonl", b'{"prompt": "a", "response": "b"}\n')
    spec = a_spec(rehearsal={"dataset": {"preset": "ultrachat", "count": 20}}, mixture={"domainFraction": 0.17})
    assert "there are 1" in str(ending(stage(spec=spec)))
    context = stage(spec=a_spec(mixture={"repeatDomain": True}))
    context.task = context.task.model_copy(update={"limits": Limits(device_memory_gib=0.000001)})
    assert "does not fit" in str(ending(context))
    assert not hub.gets["model-1.safetensors"]


def test_preflight_reads_the_data_and_later_the_fetched_model(stage: Callable[..., Context], store: FolderStore) -> None:
    word = preflight.run(stage("preflight"))
    assert (word.inputs.keys(), word.sealed, word.facts["domainRows"]) == ({"domain"}, {}, 20)
    manifest = fetch.run(stage()).manifest
    assert manifest
    assert preflight.run(stage("preflight")).sealed == {"fetch-base": manifest.digest}
    with pytest.raises(Refused, match="the domain set has no usable rows"):
        preflight.run(stage("preflight", a_spec(training={"sequenceLength": 16})))


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "GatedRepo", Refused, "accept its licence at"),
        (401, "GatedRepo", Refused, "accept its licence at"),
        (403, None, Refused, "HF_TOKEN"),
        (401, "RepoNotFound", Refused, "private"),
        (401, None, Refused, "private"),
        (404, "RepoNotFound", Refused, "there is no such repository"),
        (404, "RevisionNotFound", Refused, "there is no such commit"),
        (429, None, Unavailable, "HTTP 429"),
        (503, None, Unavailable, "HTTP 503"),
    ],
)
def test_a_hub_that_gives_nothing_is_told_by_repository_and_remedy(
    stage: Callable[..., Context], hub: HubServer, status: int, code: str | None, kind: type[StageError], words: str
) -> None:
    hub.status, hub.error_code, hub.says = status, code, "https://signed.example/?X-Amz-Signature=canary"
    error = ending(stage())
    assert isinstance(error, kind)
    assert f"hf://meta/base@{COMMIT}" in str(error)
    assert words in str(error)
    assert "canary" not in f"{error}{error.__cause__!r}"


def test_a_hub_that_answers_with_another_commit_is_refused(stage: Callable[..., Context], hub: HubServer) -> None:
    hub.answers_with = "f" * 40
    error = ending(stage())
    assert (type(error), error.reason) == (Refused, "HubMissing")
    assert f"hf://meta/base@{COMMIT}: the hub answers with commit {'f' * 40}" in str(error)
    assert not hub.gets


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(403, "GatedRepo", Refused), (401, "GatedRepo", Refused), (403, None, Refused)]
)
def test_a_gated_model_that_may_be_looked_at_is_refused_at_its_first_file(
    stage: Callable[..., Context], hub: HubServer, status: int, code: str | None, kind: type[StageError]
) -> None:
    hub.files_alone, hub.status, hub.error_code = True, status, code
    error = ending(stage())
    assert isinstance(error, kind)
    assert "accept its licence at" in str(error)
    assert "LICENSE.txt" in str(error)


def test_the_stage_program_fetches_in_a_process_of_its_own(stage: Callable[..., Context], tmp_path: Path) -> None:
    context, word = stage(), tmp_path / "word"
    (tmp_path / "task.json").write_text(context.task.model_dump_json(by_alias=True))
    paths = ["--task", str(tmp_path / "task.json"), "--scratch", str(context.scratch), "--termination-log", str(word)]
    environment = {"PATH": "", "HF_HUB_OFFLINE": "0", "HOME": str(tmp_path)}
    program = [sys.executable, "-m", "rehearsal.worker", "fetch", *paths]
    subprocess.run(program, env=environment, check=True, capture_output=True)
    manifest = context.output.manifest()
    assert manifest
    assert Termination.model_validate_json(word.read_bytes()).manifest_digest == manifest.digest


def test_a_suite_is_refused_by_field_before_anything_is_fetched(stage: Callable[..., Context], hub: HubServer) -> None:
    suite = a_spec(evaluation={"suite": "open-llm-leaderboard-v2"})
    with pytest.raises(Refused, match=r"^spec\.evaluation\.suite: this release brings no suites yet"):
        preflight.run(stage("preflight", suite))
    assert ending(stage("fetch-suite", suite)).reason == "NotAvailable"
    assert not hub.gets


def test_a_hub_that_is_not_there_is_tried_again(stage: Callable[..., Context], hub: HubServer) -> None:
    context = stage()
    context.task = context.task.model_copy(update={"hub": Hub(url="http://127.0.0.1:9")})
    assert isinstance(ending(context), Unavailable)


def test_the_token_opens_what_is_gated_and_is_in_no_message(
    stage: Callable[..., Context], hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token, hub.error_code = "hf_right", "GatedRepo"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "hf_wrong" not in str(ending(stage()))
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert fetch.run(stage()).manifest


def turns(*texts: str, **marks: Any) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text, **marks} for i, text in enumerate(texts)]


def parquet(folder: Path, rows: list[dict[str, Any]]) -> bytes:
    path = folder / "made.parquet"
    pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


def test_a_parquet_set_becomes_conversations_and_the_rest_is_counted(
    stage: Callable[..., Context], hub: HubServer, tmp_path: Path
) -> None:
    rows = [
        {"conversation": turns("Hello?", "Hello.", toxic=False, redacted=False), "language": "English"},
        {"conversation": turns("Bad?", "Bad.", toxic=True, redacted=False), "language": "English"},
        {"conversation": turns("One?", "One.", "Two?", toxic=False, redacted=False), "language": "English"},
        {"conversation": turns("Empty?", " ", toxic=False, redacted=False), "language": "English"},
    ]
    files = {"data/train-00000-of-00001.parquet": parquet(tmp_path, rows), "README.md": b""}
    hub.repositories["datasets/allenai/WildChat"] = files
    manifest = fetch.run(context := stage("fetch-dataset", preset("wildchat"))).manifest
    assert manifest
    assert list(context.output.rows()) == [
        {"id": "r00000001", "messages": turns("Hello?", "Hello.")},
        {"id": "r00000003", "messages": turns("One?", "One.")},
    ]
    assert manifest.refused == {"not-a-conversation": 1, "unwanted": 1}
    assert manifest.facts["revision"] == COMMIT


def test_an_array_of_cut_conversations_is_read_piece_by_piece(
    stage: Callable[..., Context], hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rehearsal.data.public_files.PIECE", 7)
    said = [{"from": "gpt", "value": "…and so on"}, {"from": "human", "value": "Więcej?"}, {"from": "gpt", "value": "No ] more."}]
    rows = [{"id": str(number), "conversations": said} for number in range(5)]
    files = {"ShareGPT_V3_unfiltered_cleaned_split.json": json.dumps(rows, indent=1, ensure_ascii=False).encode()}
    hub.repositories["datasets/anon8231489123/ShareGPT_Vicuna_unfiltered"] = files
    context = stage("fetch-dataset", preset("sharegpt"))
    fetch.run(context)
    assert [row["messages"] for row in context.output.rows()] == [turns("Więcej?", "No ] more.")] * 5


def test_instructions_with_an_input_are_joined(stage: Callable[..., Context], hub: HubServer) -> None:
    rows = [{"instruction": "Add.", "input": "1, 2", "output": "3"}, {"instruction": "Say hi.", "input": "", "output": "Hi."}]
    hub.repositories["datasets/teknium/openhermes"] = {"openhermes.json": json.dumps(rows).encode()}
    context = stage("fetch-dataset", preset("openhermes"))
    fetch.run(context)
    assert [row["messages"] for row in context.output.rows()] == [turns("Add.\n\n1, 2", "3"), turns("Say hi.", "Hi.")]


@pytest.mark.parametrize("data", [b'[{"conversations": []', b"[1]", b"{nonsense}", b"[}"])
def test_a_file_that_cannot_be_read_is_named(stage: Callable[..., Context], hub: HubServer, data: bytes) -> None:
    hub.repositories["datasets/teknium/OpenHermes-2.5"] = {"openhermes2_5.json": data}
    error = ending(stage("fetch-dataset", preset("openhermes-2.5")))
    assert isinstance(error, Refused)
    assert "openhermes2_5.json" in str(error)


def test_a_set_whose_layout_changed_is_refused_and_not_halved(stage: Callable[..., Context], hub: HubServer) -> None:
    hub.repositories["datasets/teknium/OpenHermes-2.5"] = {"openhermes2_5.json": b'[{"turns": []}]'}
    error = ending(stage("fetch-dataset", preset("openhermes-2.5")))
    assert isinstance(error, TooManyRefused)
    assert "no-turns 1" in str(error)


def test_a_set_that_moved_on_meanwhile_is_fetched_from_the_commit_it_was_begun_with(
    stage: Callable[..., Context], hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["datasets/teknium/openhermes"] = {"openhermes.json": b"["}
    spec = preset("openhermes")
    ending(stage("fetch-dataset", spec))
    hub.commit = "f" * 40
    assert COMMIT in str(ending(stage("fetch-dataset", spec))), "the hub of this test has forgotten it"


def test_a_fetched_set_is_mixed_like_one_of_the_store(stage: Callable[..., Context], hub: HubServer) -> None:
    rows = [{"instruction": f"Say {number}.", "output": f"{number}"} for number in range(60)]
    hub.repositories["datasets/teknium/openhermes"] = {"openhermes.json": json.dumps(rows).encode()}
    spec = preset("openhermes", count=40)
    fetch.run(stage("fetch-base", spec))
    fetch.run(stage("fetch-dataset", spec))
    context = stage("mix", spec)
    mix.run(context)
    assert context.output.sealed().facts["rehearsalRows"] == 40
    assert len({row["id"] for row in context.output.rows() if row["source"] == "rehearsal"}) == 40


@pytest.mark.parametrize(
    ("data", "spec", "reason", "words"),
    [
        (b"[]", preset("openhermes"), "NothingToTrain", "its files hold no rows: name an older `revision`"),
        (b"", preset("openhermes"), "NothingToTrain", "its files hold no rows"),
        (
            b'[{"instruction": "Say hi.", "output": "Hi."}]',
            preset("openhermes", count=40),
            "TooFewRows",
            "spec.rehearsal.dataset.count: 40 conversations are wanted in the mix, and hf://teknium/openhermes@",
        ),
    ],
)
def test_a_set_that_cannot_keep_its_count_is_not_sealed(
    stage: Callable[..., Context], hub: HubServer, data: bytes, spec: RunSpec, reason: str, words: str
) -> None:
    hub.repositories["datasets/teknium/openhermes"] = {"openhermes.json": data}
    error = ending(context := stage("fetch-dataset", spec))
    assert error.reason == reason
    assert words in str(error)
    assert context.output.manifest() is None
