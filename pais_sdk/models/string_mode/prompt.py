"""What the model is told about tools."""

from __future__ import annotations

from typing import Any

from pydantic_ai.tools import ToolDefinition

from .calls import Malformed, json_line
from .offer import Offer

FORM = '{"tool_calls": [{"name": "tool_name", "arguments": {"argument": "value"}}]}'


def tools_prompt(offer: Offer) -> str:
    """Return the description of the tools and of how they are called; the same for the same tools, byte for byte."""
    rules = [
        "You can call tools. A call is a JSON object of exactly this form, which ends your message:",
        FORM,
        "Each call names a tool, and its `arguments` are an object that fits the `parameters` of that tool, a JSON "
        "schema. The results come in the next message: do not make them up, and write nothing after the call.",
    ]
    if offer.one_at_a_time:
        rules.append("Call one tool at a time.")
    else:
        rules.append("For several calls that do not depend on each other, put several objects into the list.")
    if offer.must_call:
        rules.append("Each of your messages must call a tool; text alone is no answer.")
    else:
        rules.append("Where you need no tool, answer without such an object.")
    if offer.outputs:
        names = ", ".join(json_line(tool.name) for tool in offer.outputs)
        which = "this tool" if len(offer.outputs) == 1 else "one of these tools"
        rules.append(f"Your final answer is a call of {which}: {names}.")
    if offer.answer:
        rules.append(offer.answer.strip())
    tools = "\n".join(json_line(_described(tool)) for tool in offer.tools)
    return "\n\n".join([*rules, f"The tools, one JSON object in each line:\n{tools}"])


def correction(malformed: Malformed, offer: Offer) -> str:
    """Return what the model is told about something that was meant as a call."""
    otherwise = "" if offer.must_call else " If you did not mean to call a tool, answer without such an object."
    return (
        f"Your last message was meant as a call of a tool, but nothing was called. {malformed.problem}\n"
        f"Write the whole call again, as one JSON object of exactly this form:\n{FORM}\n"
        f"Nothing but the call is needed.{otherwise}"
    )


def _described(tool: ToolDefinition) -> dict[str, Any]:
    told: dict[str, Any] = {"name": tool.name}
    if tool.description:
        told["description"] = tool.description
    told["parameters"] = tool.parameters_json_schema
    if tool.include_return_schema and tool.return_schema:
        told["returns"] = tool.return_schema
    return told
