"""The OpenAPI document of a server."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..answers.common import ApiDocument
from .errors import HEADERS
from .operations import OPERATIONS
from .schemas import schemas

if TYPE_CHECKING:
    from ..app import AgentServer

_NOTES = "What fails is answered with an `Error`, also at an unknown path (404). Every GET route takes HEAD, too."
_TAGS = {
    "Chat": "Run the agent.",
    "Models": "The agent as OpenAI's clients look for it.",
    "Sessions": "What is stored.",
    "Agent": "What the agent is and can do.",
    "Probes": "For whoever keeps the server running.",
    "Description": "These pages.",
}
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "`X-API-Key: KEY`; where both are sent, this one counts.",
    },
}


def document_of(server: AgentServer) -> ApiDocument:
    """Return the document, made from the types that the handlers read and return; its `servers` are still empty."""
    runtime, admits = server.runtime, server.gate.admits
    operations = [operation for operation in OPERATIONS if server.a2a_on or not operation.is_a2a]
    answers = {kind for operation in operations for kind in operation.answers}
    bodies = [operation.body for operation in operations if operation.body is not None]
    components: dict[str, Any] = {
        "schemas": schemas(
            answers,
            bodies,
            max_messages=server.settings.agent_max_messages,
            efforts=sorted(runtime.arguments.efforts),
        ),
        "headers": HEADERS,
    }
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = operation.described(admits)
    document: ApiDocument = {
        "openapi": "3.1.0",
        "info": {
            "title": runtime.name,
            "version": version("pais-sdk"),
            "description": f"{runtime.description}\n\n{_NOTES}".lstrip(),
        },
        "servers": [],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": components,
    }
    if admits == "keys":
        document["security"] = [{name: []} for name in _SECURITY_SCHEMES]
        components["securitySchemes"] = _SECURITY_SCHEMES
    return document
