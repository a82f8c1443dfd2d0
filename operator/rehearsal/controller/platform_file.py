"""The platform as the operator gets it: a YAML file that the chart mounts, read once at start and refused in words."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from rehearsal.api.explain import explain
from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform


def read_platform(path: Path) -> Platform:
    """Return the platform, or raise Refused with one line a problem: the file, the field, what is wrong with it."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: cannot be read: {error}", "BadPlatform") from None
    except yaml.YAMLError as error:
        raise Refused(f"{path}: is not YAML: {' '.join(str(error).split())}", "BadPlatform") from None
    try:
        platform = Platform.model_validate(values)
    except ValidationError as error:
        raise Refused("\n".join(f"{path}: {field}: {text}" for field, text in explain(error, "platform")), "BadPlatform") from None
    for name, store in platform.stores.items():
        if store.folder and not Path(store.folder.path).is_absolute():
            field = f"platform.stores.{name}.folder.path"
            raise Refused(f"{path}: {field}: must be absolute: a pod has no folder that it could be relative to", "BadPlatform")
    return platform
