"""What the headers of safetensors files say about a model: names and shapes of its tensors, without reading a weight.

The format: eight bytes little-endian length, then a JSON object of that length, then the data. Which files hold a model's weights,
`model_files.weight_names` says.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.outside.json_text import read_json
from rehearsal.worker.model_files import weight_names

HEADER_LIMIT = 16 * 2**20
"""The format allows 100 MB, which as a value would fill a pod; the headers of models hold a tenth of this and less."""
FIRST = 1 << 16
"""Bytes that are asked for first: they hold most headers whole."""
WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json")


@dataclass(frozen=True)
class Weight:
    """One tensor of a model. `dtype` in the format's words, such as BF16."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)


Weights = Mapping[str, Weight]
"""The tensors of a model by name. A tied embedding is stored, and counted, once."""


@dataclass(frozen=True)
class WeightFile:
    """A file of weights, wherever it lies: `start` returns its first bytes, as many as asked for or all that there are."""

    name: str
    size: int
    start: Callable[[int], bytes]


def read_weights(files: Iterable[WeightFile]) -> Weights:
    """Return every tensor that these files hold; Refused, by file, where a header cannot be read or the data breaks off."""
    return {name: weight for file in files for name, weight in _header(file).items()}


def parameters(weights: Weights) -> int:
    """Return the number of a model's parameters."""
    return sum(weight.size for weight in weights.values())


def weights_of(folder: Path) -> Weights:
    """Return the tensors of a model in a folder."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    named = weight_names(names, lambda name: (folder / name).read_bytes(), str(folder), "the model")
    return read_weights(WeightFile(name, (folder / name).stat().st_size, _starter(folder / name)) for name in sorted(named))


def beside_weights(folder: Path) -> list[Path]:
    """Return a model folder's other files, sorted: configuration, tokenizer, chat template."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith(WEIGHT_SUFFIXES))


def _starter(path: Path) -> Callable[[int], bytes]:
    def start(size: int) -> bytes:
        with path.open("rb") as file:
            return file.read(size)

    return start


def _header(file: WeightFile) -> Weights:
    try:
        data = file.start(FIRST)
        (length,) = struct.unpack_from("<Q", data)
        if length > HEADER_LIMIT:
            raise ValueError("no model has such a header")  # noqa: TRY301 - told below, with the file's name
        if length > len(data) - 8:
            data = file.start(8 + length)
        header: Any = read_json(data[8 : 8 + length])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        found = {name: _weight(entry) for name, entry in entries.items()}
        end = max((_whole(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, RecursionError):
        raise Refused(f"{file.name} is not a safetensors file: convert or copy the model again", "ModelUnusable") from None
    if file.size != 8 + length + end:
        raise Refused(
            f"{file.name} has {file.size:,} bytes and its header says {8 + length + end:,}: copy the model again", "ModelUnusable"
        )
    return found


def _weight(entry: Mapping[str, object]) -> Weight:
    shape = entry["shape"]
    if not isinstance(shape, list):
        raise TypeError("a tensor without a shape")
    return Weight(str(entry["dtype"]), tuple(map(_whole, shape)))


def _whole(size: object) -> int:
    if type(size) is not int or size < 0:
        raise ValueError("a size that is no whole number")
    return size
