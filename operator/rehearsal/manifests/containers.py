"""The containers that the pods of stages are put together from: our programs, vLLM beside them, and the keys that each may hold.

An image is asked for `python3`, its engine or our package, and nothing else: upstream's vLLM image has no `python`.
"""

from collections.abc import Mapping

from rehearsal.api.platform import Platform, endpoint_variable
from rehearsal.api.serving import Serving
from rehearsal.manifests.pod import ENGINE, LOAD_MODEL, MODEL, SCRATCH, TASK_FILE, TERMINATION_LOG, Container, SecretKey


def worker(program: str) -> list[str]:
    """Return the command of a stage program."""
    paths = ["--task", TASK_FILE, "--scratch", SCRATCH, "--model", MODEL, "--termination-log", TERMINATION_LOG]
    return ["python3", "-m", "rehearsal.worker", str(program), *paths]


def load_model(platform: Platform, keys: Mapping[str, SecretKey]) -> Container:
    """Return the container that brings the model from the store."""
    return Container(LOAD_MODEL, platform.images.operator, worker(LOAD_MODEL), platform.client_pod, {}, secrets=keys)


def engine(serving: Serving, served: str, platform: Platform) -> Container:
    """Return vLLM, which serves the model on localhost under the name `served`."""
    command = [
        *("python3", "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", "$(ENGINE_PORT)"),
        *("--model", MODEL, "--served-model-name", served, "--load-format", "safetensors"),
        # The run says how to sample; a model's own generation_config.json would bend what it leaves unsaid.
        *("--generation-config", "vllm", "--disable-log-stats", "--disable-uvicorn-access-log"),
        *("--dtype", str(serving.dtype), "--max-model-len", str(serving.max_model_len)),
        *("--tensor-parallel-size", str(serving.tensor_parallel)),
        *platform.engine.args,
    ]
    env = {"ENGINE_PORT": str(platform.engine.port), **platform.engine.env}
    return Container(ENGINE, platform.images.inference, command, platform.engine_pod, env, serving.tensor_parallel)


def store_keys(platform: Platform, store: str) -> dict[str, SecretKey]:
    """Return the variables that hold the keys of a store: none where it is a folder, or the pod's identity opens it."""
    s3 = platform.stores[store].s3
    if s3 is None or s3.secret is None:
        return {}
    return {key: SecretKey(s3.secret, key) for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


def endpoint_keys(platform: Platform, endpoint: str) -> dict[str, SecretKey]:
    """Return the variable that holds an endpoint's key, if it wants one."""
    secret = platform.endpoints[endpoint].secret
    return {endpoint_variable(endpoint): SecretKey(secret, "API_KEY")} if secret else {}
