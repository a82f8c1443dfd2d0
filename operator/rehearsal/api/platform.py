"""What the platform decides and a run only refers to: stores, images, devices, limits. Chart values and local file alike.

Whatever differs between a cluster and one machine is a value here, never an `if` in a builder or a worker.
"""

from itertools import combinations
from posixpath import normpath
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from rehearsal.api.model import ApiModel
from rehearsal.api.names import PRINTABLE, Label
from rehearsal.api.quantity import Quantity
from rehearsal.api.serving import Toleration

TRAIN_SCRATCH = "1200Gi"
"""For 72 billion parameters on one node, 14 bytes each with a margin (`worker.training.disk`), and the rows."""
SCRATCH = "50Gi"
CPU_MEMORY = "2Gi"
"""For a mix of ten million rows (`worker.mix_size`)."""


class FolderStore(ApiModel):
    """A folder on this machine, or on a shared file system."""

    path: str = Field(min_length=1, pattern=PRINTABLE, description="Absolute, or relative to the platform file.")


class S3Store(ApiModel):
    """An S3 bucket."""

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = Field("", description="Keys start with it.")
    endpoint: str | None = Field(
        None, pattern=r"^https?://[^\s@]+$", description="URL of an S3-compatible server; addressed by path."
    )
    region: str | None = None
    secret: str | None = Field(
        None,
        description="Secret in the run's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; none is workload identity.",
    )


class StoreConfig(ApiModel):
    """One kind of store, and whose it is: whoever may read and write it is one tenant."""

    folder: FolderStore | None = None
    s3: S3Store | None = None
    namespaces: list[Label] = Field(
        default_factory=list,
        max_length=64,
        description="Whose runs may use it. Several share it: each reads inputs below <namespace>/ alone. None named: the "
        "operator's one namespace, or this machine.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.folder is None) == (self.s3 is None):
            raise ValueError("a store is either a `folder` or `s3`, one of the two")
        return self

    def overlaps(self, other: "StoreConfig") -> bool:
        """Tell whether an object of one can be an object of the other."""
        if self.s3 and other.s3:
            same = (self.s3.bucket, _server(self.s3.endpoint)) == (other.s3.bucket, _server(other.s3.endpoint))
            return same and _nested(self.s3.prefix, other.s3.prefix)
        if self.folder and other.folder:
            return _nested(self.folder.path, other.folder.path)
        return False


def _server(endpoint: str | None) -> str | None:
    """Return the host of an endpoint, however its address is spelled; None is Amazon. Two ports of a host may be one server."""
    host = (urlsplit(endpoint).hostname or "").rstrip(".") if endpoint else None
    return None if host is None or host.endswith(".amazonaws.com") else host


def _nested(one: str, other: str) -> bool:
    """Tell whether one of two paths is the other, or lies below it. Letters of either case are the same: to some disks they are."""
    parts = [list(filter(None, normpath(f"/{path}").casefold().split("/"))) for path in (one, other)]
    shorter = min(map(len, parts))
    return parts[0][:shorter] == parts[1][:shorter]


class EndpointConfig(ApiModel):
    """An OpenAI-compatible service. Its address, key and limits are the platform's; a run only names it."""

    url: str = Field(pattern=r"^https?://[^\s@]+$", description="Base URL, up to and including /v1.")
    allow_http: bool = Field(False, description="Permit an http:// address.")
    secret: str | None = Field(None, description="Secret in the run's namespace with API_KEY.")
    concurrency: int = Field(32, ge=1, le=4096, description="Requests kept in flight.")

    @model_validator(mode="after")
    def _https(self) -> Self:
        if self.url.startswith("http://") and not self.allow_http:
            raise ValueError("an endpoint's url is https, unless allowHttp says otherwise")
        return self


def endpoint_variable(name: str) -> str:
    """Return the environment variable that holds an endpoint's key, by the platform's name for it."""
    return f"{name.upper().replace('-', '_')}_API_KEY"


class Hub(ApiModel):
    """Where hf:// models and preset data sets come from. Only `fetch` pods reach it."""

    url: str = Field("https://huggingface.co", pattern=r"^https?://[^\s@]+$")
    secret: str | None = Field(None, description="Secret in the run's namespace with HF_TOKEN, for gated models.")


class Images(ApiModel):
    """The three images; on one machine they all stand for the command's own environment."""

    operator: str = "rehearsal/operator"
    inference: str = "rehearsal/inference"
    trainer: str = "rehearsal/trainer"


class Resources(ApiModel):
    """Requests and limits of a kind of pod."""

    cpu: Quantity = "1"
    memory: Quantity = CPU_MEMORY


TRAIN_POD = Resources(cpu="64", memory="1900Gi")
"""For 70 billion parameters on one node of eight GPUs, the optimizer in host memory (`worker.training.moments`)."""


class Device(ApiModel):
    """The accelerator that engines and trainers use."""

    resource: str | None = Field(None, description="Extended resource name, such as nvidia.com/gpu; none is the CPU.")
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of nodes that have it; a run's own come on top."
    )
    tolerations: list[Toleration] = Field(default_factory=list, description="Taints of such nodes; a run's own come on top.")


class Engine(ApiModel):
    """How vLLM is run."""

    port: int = Field(8000, ge=1, le=65535, description="Port on localhost inside the pod.")
    args: list[str] = Field(
        default_factory=list, max_length=32, description="Further arguments of the vLLM server, the platform's alone."
    )
    env: dict[str, str] = Field(default_factory=dict, description="Environment of the vLLM server.")
    start_seconds: int = Field(1800, ge=10, description="Longest start, model load included.")


class Trainer(ApiModel):
    """How torchrun and DeepSpeed are run."""

    env: dict[str, str] = Field(default_factory=dict, description="Environment of the trainer.")


class Limits(ApiModel):
    """What a worker must know of the platform, beside its store."""

    progress_seconds: float = Field(5.0, gt=0, description="Least time between two progress lines.")
    concurrency: int = Field(256, ge=1, le=4096, description="Requests a client keeps in flight.")
    device_memory_gib: float = Field(80, gt=0, description="Memory of one device, where there are any.")
    max_ranks: int = Field(8, ge=1, description="Most ranks that one pod can hold.")
    max_nodes: int = Field(64, ge=1, description="Most pods that can train together.")
    use_cpu: bool = Field(False, description="Train on the CPU (gloo).")


class Platform(ApiModel):
    """Everything a manifest needs beside the run itself."""

    stores: dict[str, StoreConfig] = Field(default_factory=dict)
    endpoints: dict[str, EndpointConfig] = Field(default_factory=dict)
    hub: Hub = Field(default_factory=Hub)
    images: Images = Field(default_factory=Images)
    device: Device = Field(default_factory=Device)
    engine: Engine = Field(default_factory=Engine)
    trainer: Trainer = Field(default_factory=Trainer)
    limits: Limits = Field(default_factory=Limits)
    cpu_stage: Resources = Field(default_factory=Resources)
    client_pod: Resources = Field(default_factory=Resources, description="The client beside an engine, and load-model.")
    engine_pod: Resources = Field(default_factory=lambda: Resources(cpu="8", memory="64Gi"))
    train_pod: Resources = Field(
        default_factory=lambda: TRAIN_POD,
        description="Of each training pod. What preflight reckons with as host memory is its memory.",
    )
    service_account: str = "rehearsal-worker"
    shared_memory: Quantity = Field("16Gi", description="Size limit of /dev/shm where engines and ranks talk.")
    ephemeral_storage: Literal["Request", "Omit"] = Field(
        "Request",
        description="Request: a pod asks for as much ephemeral-storage as its volumes on disk may hold. Omit: it asks for none, where "
        "kubelets do not account for it, or keep such volumes elsewhere than on the disk that they account for.",
    )
    scratch: Quantity = Field(SCRATCH, description="Size limit of a stage's scratch volume, training and fetching apart.")
    tmp: Quantity = Field("10Gi", description="Size limit of every pod's /tmp: what engines and trainers compile and cache.")
    train_scratch: Quantity = Field(
        TRAIN_SCRATCH,
        description="Size limit of a training pod's scratch volume: a checkpoint, 12 bytes a parameter over all nodes, and the tuned "
        "model, 2 bytes a parameter. The default is for 70 billion parameters on one node.",
    )
    model_scratch: Quantity = Field(
        "400Gi", description="Size limit of the volume that holds a model, and of a fetching pod's scratch."
    )
    backoff_limit: int = Field(
        6,
        ge=0,
        le=100,
        description="Failures of each of a stage's replicas, or of all nodes that train together, after which one more fails the stage.",
    )
    deadline_seconds: int = Field(7 * 86_400, ge=60, description="Longest life of a Job.")
    progress_seconds: float = Field(30, gt=0, description="Least time between two progress writes of a run.")

    @model_validator(mode="after")
    def _tenants_apart(self) -> Self:
        """One tenant's store may not lie in another's: a run could name the other's files by its own store."""
        for (one, a), (other, b) in combinations(self.stores.items(), 2):
            if set(a.namespaces) != set(b.namespaces) and a.overlaps(b):
                raise ValueError(
                    f"stores.{one} and stores.{other} are of different namespaces and lie in one another: "
                    "give each a bucket, a prefix or a folder of its own"
                )
        return self
