"""Study configurations: frozen dataclasses with a canonical text and a content key."""

import dataclasses
import hashlib
import json
from typing import Any

KEY_LENGTH = 12


def canonical(config: Any) -> str:
    """One text a configuration: sorted JSON, floats by their shortest exact form.

    Raises:
        TypeError: if the configuration is not a dataclass of JSON values.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"`config` must be a dataclass instance, got {config!r}.")
    return json.dumps(dataclasses.asdict(config), sort_keys=True, separators=(",", ":"))


def config_key(study: str, version: int, config: Any) -> str:
    """Twelve hexadecimal digits that name the content of a record."""
    text = f"{study}\n{version}\n{canonical(config)}"
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def quick_config(config_type: type) -> Any:
    """The small preset of a configuration, or its defaults where it has none."""
    quick = getattr(config_type, "quick", None)
    return quick() if quick else config_type()
