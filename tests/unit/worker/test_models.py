import json
import os
from pathlib import Path

import pytest

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.store.commit import Artifact
from rehearsal.store.folder import FolderStore
from rehearsal.worker import load_model
from rehearsal.worker.models import bring_model, check_model, fetch_tokenizer, model_digest
from tests.unit.worker.models_in_store import FILES, a_context, a_spec, a_store, put_model, talking_model

FIELD = "spec.baseModel.uri"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return a_store(tmp_path / "store")


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_whole_safetensors_model_is_taken(store: FolderStore):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    parts = {"model-1.safetensors": b"1", "model-2.safetensors": b"2", "model.safetensors.index.json": index}
    check_model(store, put_model(store, "m", FILES), FIELD)
    check_model(store, put_model(store, "sharded", {"config.json": b"{}", "tokenizer.json": b"{}", **parts}), FIELD)


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("pytorch_model.bin", b"", "pickle files can run code; convert the weights to safetensors"),
        ("original/consolidated.00.pth", b"", "pickle"),
        ("optimizer.pt", b"", "pickle"),
        ("last.ckpt", b"", "pickle"),
        ("state.pkl", b"", "pickle"),
        ("modeling_own.py", b"", "may not bring code"),
        ("config.json", b'{"auto_map": {"AutoModel": "x.Y"}}', "auto_map names code"),
        ("tokenizer_config.json", b'{"auto_map": {}}', "auto_map names code"),
        ("config.json", b'{"text_config": {"layers": [{"auto_map": {"AutoModel": "x.Y"}}]}}', "auto_map names code"),
        ("config.json", b"{", "line 1: is not JSON"),
        ("config.json", b"[" * 200_000, "line 1: is nested too deeply"),
        ("tokenizer_config.json", b'{"size": 1e999}', "line 1: holds a number that is too large"),
        ("model.safetensors.index.json", b"[" * 200_000, "line 1: is nested too deeply"),
        ("model.safetensors.index.json", b'{"weight_map": {}}', "names no file"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "config.json"}}', "names config.json"),
        ("config.json", b"[]", "is not a JSON object"),
        ("model.safetensors.index.json", b"{}", "has no weight_map"),
    ],
)
def test_a_model_that_could_run_code_or_is_broken_is_refused_by_field_and_file(
    store: FolderStore, file: str, data: bytes, words: str
):
    uri = put_model(store, "m", FILES | {file: data})
    with pytest.raises(Refused, match=words) as caught:
        check_model(store, uri, FIELD)
    assert str(caught.value).startswith(f"{FIELD}: store://m/{file}: ")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_model_is_refused(store: FolderStore, missing: str):
    uri = put_model(store, "m", {name: data for name, data in FILES.items() if name != missing})
    with pytest.raises(Refused, match="safetensors" if "safetensors" in missing else missing):
        check_model(store, uri, FIELD)


def test_a_model_that_is_not_there_is_refused(store: FolderStore):
    put_model(store, "models", FILES)
    with pytest.raises(Refused, match="there is no such model in the store"):
        check_model(store, "store://model", FIELD)


def test_a_shard_of_weights_that_the_index_names_and_nobody_uploaded_is_refused(store: FolderStore):
    index = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}).encode()
    uri = put_model(store, "m", FILES | {"model.safetensors.index.json": index})
    with pytest.raises(Refused, match=r"store://m/model-2.safetensors: is named by model.safetensors.index.json and missing"):
        check_model(store, uri, FIELD)


def test_a_digest_follows_from_the_files_and_not_from_where_they_lie(store: FolderStore):
    first, second = put_model(store, "a"), put_model(store, "deeper/b")
    assert model_digest(store, first) == model_digest(store, second)
    store.put("a/model.safetensors", b"Weights")
    assert model_digest(store, first) != model_digest(store, second)
    assert model_digest(store, put_model(store, "c", FILES | {"LICENSE": b""})) != model_digest(store, second)


def test_a_model_comes_whole_folders_included(store: FolderStore, tmp_path: Path):
    uri = put_model(store, "m", FILES | {"sub/merges.txt": b"x"})
    bring_model(store, uri, model_digest(store, uri), tmp_path / "model")
    assert names_in(tmp_path / "model") == {*FILES, "sub/merges.txt"}
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == b"weights"


def test_only_files_that_belong_to_a_model_are_brought(store: FolderStore, tmp_path: Path):
    strangers = ["model.onnx", "weights.h5", "saved_model.pb", "run.sh", "custom.so", "state.npz", "model.gguf", "x.json.pyc"]
    uri = put_model(store, "m", FILES | dict.fromkeys(strangers, b"x"))
    check_model(store, uri, FIELD)
    bring_model(store, uri, model_digest(store, uri), tmp_path / "model")
    assert names_in(tmp_path / "model") == set(FILES)


def test_weights_that_the_index_does_not_name_do_not_come(store: FolderStore, tmp_path: Path):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode()
    parts = {"model-1.safetensors": b"1", "model.safetensors.index.json": index}
    uri = put_model(store, "m", FILES | parts | {"consolidated.safetensors": b"twice", "original/part.safetensors": b"thrice"})
    bring_model(store, uri, model_digest(store, uri), tmp_path / "model")
    assert names_in(tmp_path / "model") == {"config.json", "tokenizer.json", *parts}


def test_weights_of_another_name_without_an_index_are_refused(store: FolderStore):
    files = {name: data for name, data in FILES.items() if name != "model.safetensors"}
    with pytest.raises(Refused, match=r"m/model.safetensors: is missing, and no model.safetensors.index.json names other files"):
        check_model(store, put_model(store, "m", files | {"consolidated.safetensors": b"1"}), FIELD)


def test_what_a_killed_pod_left_half_copied_is_replaced_and_what_is_whole_is_not_brought_again(store: FolderStore, tmp_path: Path):
    uri, folder = put_model(store, "m"), tmp_path / "model"
    folder.mkdir()
    (folder / ".model.safetensors.partial").write_bytes(b"wei")
    (folder / "config.json").write_bytes(b"half")
    (folder / "tokenizer.json").write_bytes(FILES["tokenizer.json"])
    before = (folder / "tokenizer.json").stat().st_ino
    bring_model(store, uri, model_digest(store, uri), folder)
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == FILES
    assert (folder / "tokenizer.json").stat().st_ino == before


@pytest.mark.fault(54)
def test_a_model_that_changed_since_preflight_is_not_served(store: FolderStore, tmp_path: Path):
    uri = put_model(store, "m")
    pinned = model_digest(store, uri)
    store.put("m/config.json", b'{"hidden_size": 1}')
    with pytest.raises(CorruptInput, match="store://m changed after preflight looked at it"):
        bring_model(store, uri, pinned, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.fault(54)
def test_bytes_that_are_not_what_the_store_says_are_not_served(store: FolderStore, tmp_path: Path):
    uri = put_model(store, "m")
    pinned = model_digest(store, uri)
    stored = store.root / "m" / "model.safetensors"
    known = stored.stat()
    stored.chmod(0o644)
    stored.write_bytes(b"Weights")
    os.utime(stored, ns=(known.st_atime_ns, known.st_mtime_ns))
    with pytest.raises(CorruptInput, match=r"m/model.safetensors is not what the store's checksum says"):
        bring_model(store, uri, pinned, tmp_path / "model")
    assert "model.safetensors" not in names_in(tmp_path / "model")


def test_a_tokenizer_comes_without_the_weights(store: FolderStore, tmp_path: Path):
    put_model(store, "base", talking_model(tmp_path / "files"))
    put_model(store, "peer")
    context = a_context(tmp_path, a_spec(), "elicit", store)
    assert fetch_tokenizer(context).control_ids
    assert not list(context.scratch.rglob("*.safetensors"))


def test_an_engine_gets_the_model_that_its_stage_reads(store: FolderStore, tmp_path: Path):
    put_model(store, "base")
    put_model(store, "peer", FILES | {"model.safetensors": b"peer"})
    for stage, weights in {"elicit": b"weights", "respond-peer": b"peer", "judge-base": b"weights"}.items():
        context = a_context(tmp_path, a_spec(), stage, store)
        assert load_model.run(context).reason is None
        assert (context.model_dir / "model.safetensors").read_bytes() == weights


def test_an_engine_that_evaluates_the_tuned_model_gets_what_training_sealed(store: FolderStore, tmp_path: Path):
    put_model(store, "base")
    put_model(store, "peer")
    context = a_context(tmp_path, a_spec(evaluated=True), "evaluate-tuned", store)
    tuned: Artifact = context.artifact("train")
    (tmp_path / "tuned").write_bytes(b"tuned")
    tuned.seal(0, files=[tuned.add_file("model.safetensors", tmp_path / "tuned")])
    load_model.run(context)
    assert (context.model_dir / "model.safetensors").read_bytes() == b"tuned"
