"""What a worker is told: the run's spec, the pinned inputs, its stage, and where the store is. One JSON file in the pod."""

from pydantic import Field

from rehearsal.api.model import ApiModel
from rehearsal.api.platform import (
    CPU_MEMORY,
    SCRATCH,
    TRAIN_POD,
    TRAIN_SCRATCH,
    EndpointConfig,
    Hub,
    Limits,
    Resources,
    StoreConfig,
)
from rehearsal.api.quantity import Quantity
from rehearsal.api.run import RunSpec


class Task(ApiModel):
    """The whole of a worker's knowledge of its run. Small enough for a pod annotation (256 KiB)."""

    namespace: str
    run: str = Field(description="The run's name, for titles only: nothing is derived from it.")
    stage: str = Field(description="The stage's name in the stage table.")
    fingerprint: str | None = Field(None, description="The stage's fingerprint; preflight, which resolves inputs, has none.")
    spec: RunSpec
    inputs: dict[str, str] = Field(default_factory=dict, description="Digest of every external input, as preflight pinned it.")
    seals: dict[str, str] = Field(default_factory=dict, description="Digest of the seal of every stage that this one may read.")
    rounds: int = Field(1, ge=1, description="Rounds of elicitation so far.")
    slots: int = Field(1, ge=1, description="Worker slots (pods) of this stage's Job.")
    store: StoreConfig
    endpoint: EndpointConfig | None = Field(None, description="The service that the stage asks, if it asks one.")
    hub: Hub | None = Field(None, description="Where to fetch from: of fetch stages only.")
    limits: Limits = Field(default_factory=Limits)
    train_pod: Resources = Field(default_factory=lambda: TRAIN_POD, description="What a training pod asks for.")
    train_scratch: Quantity = Field(TRAIN_SCRATCH, description="Size limit of a training pod's scratch volume.")
    scratch: Quantity = Field(SCRATCH, description="Size limit of the scratch volume of other pods, fetching ones apart.")
    cpu_memory: Quantity = Field(CPU_MEMORY, description="Memory of a pod that has neither an engine nor a trainer.")
