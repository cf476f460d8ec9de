"""An agent elsewhere, and how a task is given to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx2

from .._delegation_wire import CHAIN_HEADER
from .._shield import to_its_end
from .._whole_text import whole_text
from ..errors import ConfigurationError, InvalidRequestError, RemoteAgentError
from .a2a_exchange import A2AExchange
from .agent_url import AgentUrl
from .card import ProtocolChoice, card_without
from .card_finder import CardFinder
from .chat_exchange import ChatExchange
from .connections import Connections
from .deadline import Deadline
from .failures import Failures
from .task_request import TaskRequest
from .values import RemoteAnswer, RemoteCard, RemoteEvent
from .wire import Wire

_CARD_S = 15.0
_CANCEL_S = 5.0
_IN_A_CHAIN = "!\"#$&'()*+-./:;<=>?@[\\]^_`{|}~"  # printable ASCII without `%`, `,` and the blank


class RemoteAgent:
    """An agent that is asked over the network.

    Its card says how it is spoken to: A2A 1.0, A2A 0.3, KAOS's dialect of A2A, or OpenAI's chat completions, which is
    also what an agent without a card gets. The card is looked for when it is first needed.

    A task runs at most once. It is sent again only where nobody took the connection; an A2A agent whose answer breaks
    off is asked for the task by its id.

    `async with` keeps connections open between tasks, and closes them when the last one leaves; without it each call
    opens and closes its own.

    Args:
        url: Where the agent is: its base URL, or that of its card.
        api_key: Sent as `Authorization: Bearer`, to this origin only.
        headers: Sent with every request.
        protocol: `auto`: as the card says; `a2a` or `chat`: whatever it says.
        connect_timeout_s: Seconds to connect.
        read_timeout_s: Seconds that the agent may say nothing.
        http_client: Used for all requests and never closed; it must allow the event loop that the agent is used on.

    Raises:
        ConfigurationError: The URL, the key or a header cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        protocol: ProtocolChoice = "auto",
        connect_timeout_s: float = 5,
        read_timeout_s: float = 60,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        if protocol not in ("auto", "a2a", "chat"):
            raise ConfigurationError(f"protocol {protocol!r} is none; use auto, a2a or chat")
        for name, seconds in (("connect_timeout_s", connect_timeout_s), ("read_timeout_s", read_timeout_s)):
            if not seconds > 0:
                raise ConfigurationError(f"{name} must be more than 0, not {seconds!r}")
        self._url = AgentUrl(url)
        self._protocol: ProtocolChoice = protocol
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        api_key = (api_key or "").strip()
        self._headers = _checked_headers(api_key, headers or {})
        secrets = (*([api_key] if api_key else []), *self._headers.values())
        self._failures = Failures(self._url.base, self._url.label, secrets)
        self._cards = CardFinder(self._url, protocol, self._failures)
        self._connections = Connections(http_client)

    def __repr__(self) -> str:
        return f"RemoteAgent({self.url!r})"

    @property
    def url(self) -> str:
        """Where the agent is, without a slash at its end."""
        return self._url.base

    @property
    def known_card(self) -> RemoteCard | None:
        """The card that was found last, however long ago; nothing is asked for."""
        return self._cards.known

    async def __aenter__(self) -> Self:
        self._connections.enter()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connections.leave()

    async def close(self) -> None:
        """Close the connections of this event loop now, whoever holds them; the next task opens new ones."""
        await self._connections.close()

    async def card(self, *, refresh: bool = False) -> RemoteCard:
        """Return what the agent says about itself, kept for five minutes.

        Args:
            refresh: Ask again, whatever is kept.

        Raises:
            RemoteAgentError: It cannot be asked; kept for a second.
        """
        if not refresh and (known := self._cards.fresh) is not None:
            return known
        async with self._connections.held() as client:
            return await self._find_card(self._wire(client, Deadline(None)), refresh=refresh)

    async def run(
        self,
        task: str,
        *,
        session_id: str | None = None,
        context: str | None = None,
        timeout_s: float | None = None,
        chain: Sequence[str] = (),
        store: bool = True,
    ) -> RemoteAnswer:
        """Give the agent a task and return its answer; the arguments are those of `stream`, without progress.

        Raises:
            RemoteAgentError: There is none.
        """
        answer: RemoteAnswer | None = None
        asked = self.stream(
            task,
            session_id=session_id,
            context=context,
            timeout_s=timeout_s,
            chain=chain,
            progress=False,
            store=store,
        )
        async with asked as events:
            async for event in events:
                answer = event if isinstance(event, RemoteAnswer) else None
        assert answer is not None, "a stream ends with an answer or an error"
        return answer

    @asynccontextmanager
    async def stream(
        self,
        task: str,
        *,
        session_id: str | None = None,
        context: str | None = None,
        timeout_s: float | None = None,
        chain: Sequence[str] = (),
        progress: bool = True,
        store: bool = True,
    ) -> AsyncGenerator[AsyncIterator[RemoteEvent]]:
        """Give the agent a task and yield what it says while it works; the last is a `RemoteAnswer`.

        Leaving the block before that, or being cancelled, ends the task there: an A2A agent is told so by the task's
        id, where it has said that already; a chat is hung up.

        Args:
            task: What to do.
            session_id: The conversation there to go on in; None for a new one.
            context: What the agent should know and is not told to do.
            timeout_s: Seconds for all of it; the agent is told, too. None for any time.
            chain: The ids of the agents that the task comes through, the first one first.
            progress: Whether you want to hear what happens before the answer. Where not, and `timeout_s` is given, chat
                completions are asked for the whole answer at once, which costs less; the agent may then be silent for
                all of that time. A2A is streamed all the same, as only so the task's id is known and it can be ended.
            store: Whether the agent may keep the task in its memory; PAIS agents do as they are told.

        Raises:
            InvalidRequestError: `session_id` cannot be sent.
            RemoteAgentError: While iterating: there is no answer.
        """
        if session_id is not None and not (session_id and session_id.isascii() and session_id.isprintable()):
            raise InvalidRequestError("a session id is printable ASCII text", param="session_id")
        request = TaskRequest(
            text=whole_text(task),
            context=None if context is None else whole_text(context),
            session_id=session_id,
            progress=progress,
            store=store,
        )
        deadline = Deadline(timeout_s)
        async with self._connections.held() as client:
            work = _Work(self._wire(client, deadline, chain))
            events = self._events(work, request)
            try:
                yield _Until(deadline, events, self._failures)
            finally:
                try:
                    await events.aclose()
                finally:
                    exchange = work.exchange
                    if exchange is not None and exchange.may_run_on:
                        await to_its_end(exchange.cancel(self._wire(client, Deadline(_CANCEL_S))))

    async def _events(self, work: _Work, request: TaskRequest) -> AsyncGenerator[RemoteEvent]:
        if self._protocol == "chat":
            card = self.known_card or card_without(self._url, "chat")
        else:
            card = await self._find_card(work.wire)
        made = ChatExchange if card.protocol == "chat" else A2AExchange
        exchange = work.exchange = made(work.wire, card, request)
        events = exchange.events()
        try:
            async for event in events:
                yield event
        except RemoteAgentError as error:
            if error.reason in ("refused", "unreadable"):
                self._cards.forget()  # it may have been replaced by one that is spoken to otherwise
            raise
        finally:
            await events.aclose()

    async def _find_card(self, wire: Wire, *, refresh: bool = False) -> RemoteCard:
        """Look for the card within a time of its own, so that a silent agent does not hold a long task for it."""
        try:
            return await Deadline(_CARD_S).wait(self._cards.find(wire, refresh=refresh))
        except TimeoutError:
            raise self._failures.no_card("timeout") from None

    def _wire(self, client: httpx2.AsyncClient, deadline: Deadline, chain: Iterable[str] = ()) -> Wire:
        chain_text = ",".join(quote(item, safe=_IN_A_CHAIN, errors="replace") for item in chain)
        return Wire(
            client,
            self._failures,
            headers={**self._headers, CHAIN_HEADER: chain_text} if chain_text else self._headers,
            deadline=deadline,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=self._read_timeout_s,
        )


class _Work:
    """What there is to end when a task is given up."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.exchange: A2AExchange | ChatExchange | None = None


class _Until(AsyncIterator[RemoteEvent]):
    """Gives events until the deadline; it is kept for each one alone, as no scope may hold the caller's code."""

    def __init__(self, deadline: Deadline, events: AsyncGenerator[RemoteEvent], failures: Failures) -> None:
        self._deadline = deadline
        self._events = events
        self._failures = failures
        self._answered = False

    async def __anext__(self) -> RemoteEvent:
        if self._answered:
            return await anext(self._events)  # what comes after the answer is bounded by itself, and cannot be late
        try:
            event = await self._deadline.wait(anext(self._events))
        except TimeoutError:
            raise self._failures.late(self._deadline.timeout_s or 0) from None
        self._answered = isinstance(event, RemoteAnswer)
        return event


def _checked_headers(api_key: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of every request, with names in lower case."""
    headers: dict[str, str] = {}
    if api_key:
        headers["authorization"] = f"Bearer {_header_text(api_key, 'api_key')}"
    for name, value in given.items():
        if not (name and name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
            raise ConfigurationError(f"{name!r} is no name of a header")
        headers[name.lower()] = _header_text(value.strip(), f"the header {name!r}")
    return headers


def _header_text(value: str, name: str) -> str:
    if value.isascii() and value.isprintable():
        return value
    raise ConfigurationError(f"{name} has a character that no HTTP header can have")
