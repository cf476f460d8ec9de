"""What a tool returned, as a model and a memory can read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from pydantic_ai.messages import ToolReturn, tool_return_ta
from pydantic_core import PydanticSerializationError, SchemaValidator, core_schema, from_json, to_jsonable_python

# What was written cannot always be read again: not numbers of thousands of digits, nor more than 200 levels, and a
# memory puts some around the result. This reads all of it and keeps nothing, in half the time.
_READ = SchemaValidator(core_schema.typed_dict_schema({}))
_AROUND = (b'{"around":' + b"[" * 7, b"]" * 7 + b"}")


def readable(result: Any) -> Any:
    """Return a tool's result, with whole characters, and with a list where it can be read once only.

    Raises:
        ValueError: JSON cannot hold it, or not so that it can be read again, as numbers of thousands of digits.
        Exception: What a class of its own raises when it is written.
    """
    if isinstance(result, str):
        return result if result.isascii() else result.encode("utf-8", "replace").decode()
    shown: Any = cast("ToolReturn[Any]", result).return_value if isinstance(result, ToolReturn) else result
    is_used_up = isinstance(shown, Iterator)
    try:
        data, is_whole = tool_return_ta.dump_json(shown), True
    except PydanticSerializationError:
        if is_used_up:
            raise
        text = json.dumps(to_jsonable_python(shown), ensure_ascii=False)
        data, is_whole = text.encode("utf-8", "replace"), False  # half characters, such as names of files have
    _READ.validate_json(_AROUND[0] + data + _AROUND[1])
    if is_whole and not is_used_up:
        return cast("Any", result)
    read = from_json(data)
    return replace(cast("ToolReturn[Any]", result), return_value=read) if isinstance(result, ToolReturn) else read
