"""What the headers of safetensors files say about a model: names and shapes of its tensors, without reading a weight.

The format: eight bytes little-endian length, then a JSON object of that length, then the data.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.outside.json_text import read_json

HEADER_LIMIT = 100_000_000
"""The safetensors format allows no longer header."""
WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json")


@dataclass(frozen=True)
class Weight:
    """One tensor of a model. `dtype` in the format's words, such as BF16."""

    dtype: str
    shape: tuple[int, ...]


def weights_of(folder: Path) -> dict[str, Weight]:
    """Return name -> shape of every tensor in a model's folder; Refused when there is none or a header cannot be read."""
    found: dict[str, Weight] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= _header(path)
    if not found:
        raise Refused(f"{folder} holds no safetensors file: convert the model's weights", "ModelUnusable")
    return found


def weight_bytes(folder: Path) -> int:
    """Return the size of a model's weights. A tied embedding is stored, and counted, once."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def beside_weights(folder: Path) -> list[Path]:
    """Return a model folder's other files, sorted: configuration, tokenizer, chat template."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith(WEIGHT_SUFFIXES))


def _header(path: Path) -> dict[str, Weight]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: Any = read_json(file.read(min(length, HEADER_LIMIT)))
        return {name: Weight(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise Refused(
            f"{path.name} is not a safetensors file ({error}): convert or copy the model again", "ModelUnusable"
        ) from error
