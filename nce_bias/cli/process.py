"""What a program that owns its process asks of JAX: float64, and compilations that are kept.

The library itself never changes JAX's configuration; commands and tests do, here.
"""

import os
import pathlib
from typing import Any

import jax
import platformdirs

#: Seconds of compilation from which on reading the result back is the quicker.
WORTH_KEEPING = 0.1


def own_process() -> None:
    """Switch float64 on and keep compilations (`keep_compilations`)."""
    jax.config.update("jax_enable_x64", True)
    keep_compilations()


def keep_compilations(folder: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """Keep what JAX compiles on disk, so that the next process does not compile it again.

    Any file there may be deleted at any time, and several processes may use it at once: an entry
    that cannot be read is compiled again.

    Parameters
    ----------
    folder
        By default ``jax`` in the user's cache folder of ``nce-bias`` (on Linux below
        ``$XDG_CACHE_HOME``, or ``~/.cache``).

    Returns
    -------
    pathlib.Path or None
        The folder in use: the user's own, where JAX was told one (``JAX_COMPILATION_CACHE_DIR``);
        None where it cannot be written, and everything is compiled as without it.
    """
    config: Any = jax.config  # its stubs do not know the options
    given = config.jax_compilation_cache_dir
    if given:
        return pathlib.Path(given)
    place = pathlib.Path(folder or platformdirs.user_cache_path("nce-bias") / "jax")
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)
    return place
