"""What the arithmetic of a fine-tune knows of a model: its parameters by the files, its sizes by config.json. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rehearsal.api.messages import Refused


@dataclass(frozen=True)
class ModelShape:
    """The numbers of a model. A tied embedding is one parameter."""

    parameters: int
    hidden: int
    layers: int
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int) -> Self:
        """Return the shape of a model with this config.json, whose files hold so many parameters; Refused when a size is missing."""
        sizes = []
        for name in ("hidden_size", "num_hidden_layers", "vocab_size"):
            size = config.get(name)
            if type(size) is not int or size < 1:
                raise Refused(
                    f"spec.baseModel: config.json does not say {name} as a number: a causal language model is needed",
                    "ModelUnusable",
                )
            sizes.append(size)
        return cls(parameters, *sizes)
