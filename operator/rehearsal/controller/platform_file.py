"""The platform as the operator gets it: a YAML file that the chart mounts, read once at start and refused in words."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from rehearsal.api.explain import explain
from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform
from rehearsal.outside.unreadable import Unreadable
from rehearsal.outside.yaml_text import read_yaml


def read_platform(path: Path, namespaces: Sequence[str]) -> Platform:
    """Return the platform, or raise Refused with one line a problem: the file, the field, what is wrong with it.

    `namespaces`: where the operator sees runs; none named is everywhere. A store that names no namespace of its own belongs
    to the one that the operator sees.
    """
    try:
        values = read_yaml(path.read_bytes())
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}", "BadPlatform") from None
    except Unreadable as error:
        raise Refused(f"{path}: {error}", "BadPlatform") from None
    try:
        platform = Platform.model_validate(values)
    except ValidationError as error:
        raise Refused("\n".join(f"{path}: {field}: {text}" for field, text in explain(error, "platform")), "BadPlatform") from None
    for name, store in platform.stores.items():
        if store.folder and not Path(store.folder.path).is_absolute():
            field = f"platform.stores.{name}.folder.path"
            raise Refused(f"{path}: {field}: must be absolute: a pod has no folder that it could be relative to", "BadPlatform")
    try:
        return bound(platform, namespaces)
    except ValueError as error:
        raise Refused(f"{path}: {error}", "BadPlatform") from None


def bound(platform: Platform, namespaces: Sequence[str]) -> Platform:
    """Return the platform with every store bound to namespaces; ValueError where it does not say whose a store is."""
    if len(namespaces) != 1:
        seen = ", ".join(namespaces) or "all namespaces"
        for name, store in platform.stores.items():
            if not store.namespaces:
                raise ValueError(
                    f"platform.stores.{name}.namespaces: the operator sees runs of {seen}; name those that may use this store"
                )
    stores = {
        name: store if store.namespaces else store.model_copy(update={"namespaces": list(namespaces)})
        for name, store in platform.stores.items()
    }
    return platform.model_copy(update={"stores": stores})
