"""A small OpenAI-compatible model endpoint for tests: the stand-in for the model at the end of a real HTTP chain.

    mock = MockLLM()                                        # in this process
    async with mock.running() as url:                       # the API is at f"{url}/v1"
        ...
    mock.record.requests

    python -m pais_sdk.testing.mock_llm --port 0            # as a process: prints MOCK_LLM_URL=http://127.0.0.1:PORT

The `model` of a request chooses what it answers, plain and with `stream: true`:

    echo               the text of the last user message; any name that is not here does the same
    hello              "Hello! How can I help you today?"
    tool               a call of the first of `tools`; the arguments are the last user text where that is a JSON
                       object, else the schema's required properties with example values (strings are "x"); 400 where
                       none can be made. After a message with the role `tool`: "The tool said: ..."; without tools: an
                       echo
    script             the n-th of a list of answers to the n-th request of a run, see below
    length             the first word of the last user text, `finish_reason` length
    error-NNN          status NNN (400 to 599) with OpenAI's error object; error-429 has `Retry-After: 7`
    midstream-error    two words, then the connection drops
    hang               one word, then nothing until the client is gone (or a reset or the end drops the connection)
    gate               one word; after `POST /_gate/open` the rest of "The gate is open."

Options follow the name, each after a `+`, in any order (`script+chars+no-tools`); an unknown one is 400:

    +chars             a stream brings single characters, also of a tool call's arguments
    +no-tools          400 `"<model>" does not support tools` where the request has tools, as Ollama says it

A stream brings words, and the arguments of tool calls in pieces of 10 characters; the id and the name of a call are in
its first piece only, its index is in all. A plain answer waits before its first byte. Usage counts words, see
`Answer.usage`. Any key is accepted.

The answers of `script` come from `MockLLM(responses=[...])` or `mock.set_responses([...])`, from `--responses JSON`, or
from `POST /_script` with the JSON list. Each is a text, or

    {"tool_calls": [{"name": ..., "arguments": {...}, "id": ...}, ...], "content": "said before them"}

where `arguments`, `id` and `content` may be left out, and arguments that are a text go out as they are. Where the
request has `tools` these are tool calls; where it has none, the same JSON object as text. After the last answer comes
"[no more mock responses]". Which one a request gets is read from the request alone, so that any number of runs may
share a script: the number of assistant messages since the run began, see `script.answers_before`.

Failures on command, for whatever model the next chat requests name:

    POST /_fail?status=429&times=1&retry_after_s=0          mock.fail_next(429, times=1, retry_after_s=0)
                       the next `times` requests fail so, then all is as before; also `code`. Status 0 drops the
                       connection. With `after_words=N` a stream says N words first, then comes the error, as an event
                       of the stream (or the drop); a plain answer fails at once

What tests look at, without sleeping:

    GET  /_requests    the chat requests, oldest first: [{"body": ..., "headers": ...}]; the headers are authorization
                       and traceparent, where they were sent. Those that fail are there, too
    GET  /_stats       {"active": n, "started": n, "finished": n, "disconnected": n}, see `record.Record`
    GET  /_wait?disconnected=N&started=N&finished=N&timeout_s=5
                       the stats, as soon as the counters that are named have reached their numbers; 408 if not in time
    POST /_gate/open   opens the gate for all requests until the next reset
    POST /_reset       forgets requests, counters, the open gate and the failures that are still to come, and goes back
                       to the answers of the start; what hangs or waits at the gate is let go
"""

from .endpoint import MockLLM

__all__ = ["MockLLM"]
