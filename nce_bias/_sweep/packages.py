"""What is installed, and goes by name and version; the rest is a user's own."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sys
import types
from pathlib import Path
from typing import Any

#: Where Python's own modules are; a user's may have a name of theirs.
STANDARD = Path(types.__file__).parent


def imported(thing: Any) -> str | None:
    """Package, version and name of what can be imported from an installed package."""
    if isinstance(thing, types.ModuleType):
        installed = version_of(thing.__name__)
        return installed and f"{installed}: {thing.__name__}"
    home, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    name = name or getattr(thing, "__name__", None)
    if not isinstance(home, str) or not isinstance(name, str) or not (made := version_of(home)):
        return None
    found: Any = sys.modules.get(home)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{made}: {home}.{name}" if found is thing else None


@functools.cache
def version_of(module: str) -> str | None:
    """Package and version of an installed module; None for one of a user's own."""
    top = module.partition(".")[0]
    if top == __name__.partition(".")[0]:
        return top  # whose version is part of every fingerprint
    if top in ("__main__", "__mp_main__"):
        return None  # also where what started it is installed, as pytest is
    found = sys.modules.get(top)
    places = [getattr(found, "__file__", None), *getattr(found, "__path__", [])]
    paths = [Path(place) for place in places if place]
    if any({"site-packages", "dist-packages"} & set(path.parts) for path in paths):
        return f"{top} {_version(top, found)}"
    if top in sys.stdlib_module_names and all(path.is_relative_to(STANDARD) for path in paths):
        return f"python {platform.python_version()}"
    return None


def _version(top: str, found: Any) -> str:
    version = getattr(found, "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return ""
