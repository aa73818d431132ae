"""Results for other programs: JSON on standard output."""

import json
import math
from typing import Any

import numpy as np
import typer


def echo_records(records: Any) -> None:
    """Write a record, or a list of them; what is not finite is null, as JSON has no NaN.

    Examples
    --------
    >>> echo_records([{"m": 4, "bias_norm": 0.25, "bias_norm_se": float("nan")}])
    [
      {
        "m": 4,
        "bias_norm": 0.25,
        "bias_norm_se": null
      }
    ]
    """
    typer.echo(json.dumps(_known(records), indent=2, ensure_ascii=False))


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_known(inside) for inside in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
