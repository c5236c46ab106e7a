"""Entries that every result.json has, whatever its recipe; readers rely on them."""

import math
from typing import Any

from Utils import quality

NUMBER = (int, float)
EACH = "*"  # as a key: every value of the table
RESULT = {
    "source": str,
    "data": {},
    "parameters": {"kept": int, "total": int, "prunable": int, "prunable_kept": int},
    "flops": {"kept": int, "total": int},
    "per_tensor": [{"module": str, "param": str, "kept": int, "size": int, "prunable": bool}],
    "dead": {"classes": {"total": int}},
    "seconds": {EACH: NUMBER},
    "versions": {},
    "machine": {"device": str},
}


def check(result: Any) -> None:
    """Raise ValueError, which names the entry, if `result` lacks one of `RESULT` or has another kind of value there.

    A recipe may leave out the figures at the end ("final"). If they are there, one must be a metric.
    """
    _check(result, RESULT, "")
    if "final" in result:
        _check(result["final"], {EACH: NUMBER}, "final")
        try:
            quality.of(result["final"])
        except KeyError as error:
            raise ValueError(f"final has no {error.args[0]}") from None


def _check(value: Any, shape: Any, where: str) -> None:
    kind = type(shape) if isinstance(shape, dict | list) else shape
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where or 'it'} is {str(value)[:40]!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}")
    if isinstance(shape, list):
        for k, one in enumerate(value):
            _check(one, shape[0], f"{where}[{k}]")
    elif isinstance(shape, dict):
        for key, inner in shape.items():
            for name in value if key == EACH else [key]:
                if name not in value:
                    raise ValueError(f"{where}{'.' * bool(where)}{name} is missing")
                _check(value[name], inner, f"{where}{'.' * bool(where)}{name}")
