"""Models by address, how an engine serves them, and how text is sampled from them."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from rehearsal.api.model import ApiModel

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=32)]
StoreUri = Annotated[str, StringConstraints(pattern=r"^store://[^\s\\]+$", max_length=512)]
ModelUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^(store://[^\s\\]+|hf://[\w.-]+/[\w.-]+@[0-9a-f]{40}|run://[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$", max_length=512
    ),
]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Dtype(StrEnum):
    """Number format the engine computes in (vLLM's `--dtype`)."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Serving(ApiModel):
    """How vLLM serves a model. Only `dtype` and `maxModelLen` can change what a stage computes."""

    tensor_parallel: int = Field(1, ge=1, le=16, description="GPUs that hold one copy of the model.")
    replicas: int = Field(1, ge=1, le=64, description="Copies that work side by side, a pod each.")
    dtype: Dtype = Field(Dtype.BFLOAT16, description="Number format of weights and activations.")
    max_model_len: int = Field(8192, ge=128, le=1_048_576, description="Longest prompt plus answer, in tokens.")


class Model(ApiModel):
    """A model by address: `hf://owner/name@<commit>`, `store://path` or `run://earlier-run`."""

    uri: ModelUri = Field(description="store://path in the run's store, hf://owner/name@<40-hex commit>, or run://name.")
    serving: Serving = Field(default_factory=Serving, description="How the inference engine serves it.")


class Sampling(ApiModel):
    """Nucleus sampling, in vLLM's words."""

    temperature: float = Field(1.0, ge=0, le=2, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Mass of the nucleus.")
    max_tokens: int = Field(2048, ge=1, le=131_072, description="Longest answer, in tokens.")


class Toleration(ApiModel):
    """core/v1 Toleration."""

    key: str | None = Field(None, max_length=316, description="The taint's key; none tolerates every key.")
    operator: Annotated[str, StringConstraints(pattern="^(Exists|Equal)$")] = Field(
        "Equal", description="Exists ignores the value."
    )
    value: str | None = Field(None, max_length=63, description="The taint's value.")
    effect: Annotated[str, StringConstraints(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$")] | None = Field(
        None, description="The taint's effect; none tolerates every effect."
    )
    toleration_seconds: int | None = Field(
        None, ge=0, le=2**31 - 1, description="How long NoExecute is tolerated; none is for ever."
    )
