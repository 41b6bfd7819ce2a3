"""One option's value as the text that the core takes, and back.

The kind of a field is that of its default; a default of None means a number or None.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable
from dataclasses import Field
from typing import Any

__all__ = ["text_of", "value_of"]


def text_of(name: str, spec: Field[Any], value: Any) -> str:
    """The text of a field's value; `name` is for the ValueError of a value of another kind. Bounds are the core's."""
    kind = type(spec.default)
    if kind is int:
        return _integer_text(name, value)
    if kind is str:
        if isinstance(value, bool) and spec.metadata.get("bool"):
            return "true" if value else "false"
        if not isinstance(value, str) or not value.replace("_", "x").isalnum() or value in ("true", "false"):
            raise ValueError(f"{name} is {value!r}, must be a choice such as {spec.default!r}")
        return value
    if kind is tuple:
        if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
            raise ValueError(f"{name} is {value!r}, must be three numbers")
        return ",".join(_real_text(name, number) for number in value)
    return "none" if value is None and spec.default is None else _real_text(name, value)


def _integer_text(name: str, value: Any) -> str:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, must be a whole number")
    if number.bit_length() > 63:
        raise ValueError(f"{name} is a number of {number.bit_length()} bits, which is out of range")
    return str(number)


def _real_text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} is {value!r}, must be a number")
    try:
        return repr(float(value))
    except OverflowError:
        raise ValueError(f"{name} is out of range") from None


def value_of(spec: Field[Any], text: str) -> Any:
    """The value that a text of the core means for a field."""
    kind = type(spec.default)
    if kind is int:
        return int(text)
    if kind is str:
        return text == "true" if spec.metadata.get("bool") and text in ("true", "false") else text
    if kind is tuple:
        return tuple(map(float, text.split(",")))
    return None if text == "none" else float(text)
