"""Models by address, how an engine serves them, and how text is sampled from them."""

from typing import Annotated, Literal

from pydantic import Field

from rehearsal.api.model import Choice, SpecModel
from rehearsal.api.names import LabelKey, LabelValue, ModelUri
from rehearsal.api.rules import Rule

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Dtype(Choice):
    """Number format the engine computes in (vLLM's `--dtype`)."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Serving(SpecModel):
    """How vLLM serves a model. Only `dtype` and `maxModelLen` can change what a stage computes."""

    tensor_parallel: int = Field(1, ge=1, le=16, description="GPUs that hold one copy of the model.")
    replicas: int = Field(1, ge=1, le=64, description="Copies that work side by side, a pod each.")
    dtype: Dtype = Field(Dtype.BFLOAT16, description="Number format of weights and activations.")
    max_model_len: int = Field(8192, ge=128, le=1_048_576, description="Longest prompt plus answer, in tokens.")


class Model(SpecModel):
    """A model by address: `hf://owner/name@<commit>`, `store://path` or `run://earlier-run`."""

    uri: ModelUri = Field(description="store://path in the run's store, hf://owner/name@<40-hex commit>, or run://name.")
    serving: Serving = Field(default_factory=Serving, description="How vLLM serves a model.")


class Sampling(SpecModel):
    """Nucleus sampling, in vLLM's words."""

    temperature: float = Field(1.0, ge=0, le=2, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Mass of the nucleus.")
    max_tokens: int = Field(2048, ge=1, le=131_072, description="Longest answer, in tokens.")


class AnswerSampling(Sampling):
    """Nucleus sampling of answers, cooler than that of instructions."""

    temperature: float = Field(0.7, ge=0, le=2, description="0 is greedy.")
    top_p: float = Field(0.9, gt=0, le=1, description="Mass of the nucleus.")


class Toleration(SpecModel):
    """core/v1 Toleration: a taint whose nodes the run's pods may use."""

    rules = (
        Rule(
            "a toleration without a key must have the operator Exists",
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            holds=lambda given: given.key is not None or given.operator == "Exists",
        ),
        Rule(
            "a toleration with the operator Exists must have no value",
            cel="!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
            holds=lambda given: given.value is None or given.operator != "Exists",
        ),
        Rule(
            "tolerationSeconds may only be set with the effect NoExecute",
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            holds=lambda given: given.toleration_seconds is None or given.effect == "NoExecute",
        ),
    )

    key: LabelKey | None = Field(None, description="The taint's key; none tolerates every key.")
    # No default in the schema: what the API server fills into an atomic list is drift to Argo CD's structured merge.
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Equal by default; Exists ignores the value.")
    value: LabelValue | None = Field(None, description="The taint's value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="The taint's effect; none tolerates every effect."
    )
    toleration_seconds: int | None = Field(
        None, ge=0, le=2**31 - 1, description="How long NoExecute is tolerated; none is for ever."
    )
