"""Headers of safetensors files, whoever wrote them."""

import json
import struct
from pathlib import Path

import pytest

from rehearsal.api.messages import Refused
from rehearsal.worker.weights import FIRST, WeightFile, parameters, read_weights, weights_of
from tests.unit.worker.models_in_store import LLAMA_WEIGHTS, safetensors


def a_file(data: bytes, size: int | None = None) -> WeightFile:
    return WeightFile("model.safetensors", len(data) if size is None else size, lambda count: data[:count])


def written(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def test_names_shapes_and_the_number_of_parameters_are_read_without_the_weights() -> None:
    weights = read_weights([a_file(safetensors())])
    assert {name: weight.shape for name, weight in weights.items()} == LLAMA_WEIGHTS
    assert parameters(weights) == 2 * 600 * 8 + 2 * 8 * 8 + 2 * 4 * 8 + 3 * 16 * 8 + 3 * 8


def test_a_header_longer_than_what_is_asked_for_first_is_read_whole() -> None:
    shapes = {f"layer.{number}": (1,) for number in range(3000)}
    data = safetensors(shapes)
    assert struct.unpack_from("<Q", data)[0] > FIRST
    assert read_weights([a_file(data)]).keys() == shapes.keys()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 10**9) + b"{}",
        written(b"[]"),
        written(b"{"),
        written(b"[" * 200_000),
        written(b'{"a": 1}'),
        written(b'{"a": {}}'),
        written(b'{"a": {"dtype": "BF16", "shape": [-1], "data_offsets": [0, 2]}}'),
        written(b'{"a": {"dtype": "BF16", "shape": [1.5], "data_offsets": [0, 2]}}'),
        written(b'{"a": {"dtype": "BF16", "shape": "no", "data_offsets": [0, 2]}}'),
        written(b'{"a": {"dtype": "BF16", "shape": [1], "data_offsets": []}}'),
        written(b'{"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, "2"]}}'),
        written(json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, None]}}).encode()),
    ],
)
def test_what_is_no_header_is_refused_by_file(data: bytes) -> None:
    with pytest.raises(Refused, match=r"model\.safetensors"):
        read_weights([a_file(data)])


def test_no_header_is_asked_for_that_would_fill_a_pod() -> None:
    asked: list[int] = []
    file = WeightFile("model.safetensors", 10**9, lambda count: asked.append(count) or struct.pack("<Q", 90_000_000) + b"{")
    with pytest.raises(Refused, match=r"model\.safetensors"):
        read_weights([file])
    assert asked == [FIRST]


def test_a_file_that_was_cut_off_is_refused() -> None:
    data = safetensors()
    with pytest.raises(Refused, match="copy the model again"):
        read_weights([a_file(data, len(data) - 1)])


def test_a_folders_weights_are_those_that_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    (tmp_path / "consolidated.safetensors").write_bytes(safetensors({"tok_embeddings.weight": (600, 8)}))
    assert weights_of(tmp_path).keys() == LLAMA_WEIGHTS.keys()
