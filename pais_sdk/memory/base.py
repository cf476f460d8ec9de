"""Memory: Pydantic AI's conversation store plus what a server needs of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pydantic_ai.conversation_store import ConversationStore

from ..errors import InvalidRequestError
from .event_log import SessionLog
from .event_pages import EventPage, scope_events, session_events
from .events import MemoryEvent
from .page import SessionPage
from .session import MemorySession
from .session_id import check_session_id, new_session_id
from .telemetry import trace_memory

if TYPE_CHECKING:
    from .scoped import ScopedMemory

OnBusy: TypeAlias = Literal["queue", "reject", "interrupt"]
"""What a second run in a session does: wait for the first, be refused, or stop the first and take its place."""

STATELESS_TTL_S = 86_400.0


class Memory(ConversationStore):
    """Where sessions live: their messages, their events, and who may run in them.

    A memory is a Pydantic AI `ConversationStore`, so it also serves `agent.run(conversation=await memory.load(id))`
    without a runtime. Write a backend by implementing the store's five primitives and the abstract methods here.
    """

    stateless_ttl_s: float | None = STATELESS_TTL_S
    """Seconds that sessions of callers who sent no id are kept; None to keep them as others."""

    is_shared: bool = True
    """Whether several processes see the same sessions; False where they live in this one."""

    telemetry_name: str = "other"
    """What traces and metrics call it: a word for its kind, such as `local` or `redis`."""

    _entered = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        trace_memory(cls)

    def __bool__(self) -> bool:
        return True

    async def __aenter__(self) -> Self:
        self._entered += 1
        try:
            await self.open()
        except BaseException:
            self._entered -= 1
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:  # whoever leaves last closes: a memory may have several runtimes, and a block of its own
            await self.close()

    async def open(self) -> None:
        """Connect; nothing where there is nothing to connect to, or it is open. Without it, the first use opens.

        Raises:
            ConfigurationError: It cannot work as it was set up.
            MemoryUnavailableError: The store does not answer.
        """

    async def close(self) -> None:
        """Close what `open` opened; another use opens it again."""

    async def check(self) -> None:
        """Return when the memory answers.

        Raises:
            MemoryUnavailableError: It does not.
        """
        await self.read_page(limit=1)

    @abstractmethod
    def open_session(
        self, session_id: str, *, limit: int | None = None, wait_s: float = 30, on_busy: OnBusy = "queue"
    ) -> AbstractAsyncContextManager[MemorySession]:
        """Hold a session for one run and read the newest part of its history, in one round trip.

        Args:
            session_id: A valid id; the session need not exist yet.
            limit: The newest this many messages, extended back to the start of the run that holds the oldest of
                them; 0 for none, None for all.
            wait_s: How long to wait for the session where it is held, in seconds.
            on_busy: What to do where it is held.

        Raises:
            SessionBusyError: It is held, and stayed so.
            MemoryUnavailableError: The store did not answer.
        """

    @abstractmethod
    async def annotate(self, session_id: str, events: Sequence[MemoryEvent]) -> None:
        """Add events beside the messages, atomically.

        It creates the session where there is none, counts as a use of it, renews its time to live and never changes
        its revision. Without events, a session that exists is left alone.
        """

    @abstractmethod
    async def read_page(self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        """Return the sessions of one scope, the most recently used first.

        Raises:
            InvalidRequestError: The cursor is not one that this method gave.
        """

    @abstractmethod
    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None:
        """Return the newest part of what is stored for a session, or None for an unknown session.

        Args:
            session_id: A valid id.
            limit: The newest this many messages, extended back to the start of the run that holds the oldest of them,
                with the annotations among and after them, of which the newest this many are enough; None for all.
        """

    def scoped(self, scope: str | None) -> Memory:
        """Return a view in which session ids are those of one scope; None is the unscoped memory itself."""
        if scope is None:
            return self
        from .scoped import ScopedMemory

        view: ScopedMemory = ScopedMemory(self, scope)
        return view

    async def create_session(self, session_id: str | None = None) -> str:
        """Create a session, empty until something is stored in it, and return its id; an existing one is left alone."""
        session_id = new_session_id() if session_id is None else check_session_id(session_id)
        await self.annotate(session_id, ())
        return session_id

    def create_event(self, event_type: str, content: Any, metadata: dict[str, Any] | None = None) -> MemoryEvent:
        """Return a new event, stamped now and not stored yet."""
        return MemoryEvent(event_type=event_type, content=content, metadata=dict(metadata or {}))

    async def store_event(self, session_id: str, event: MemoryEvent) -> None:
        """Store an event beside a session's messages; the model never sees it. Creates the session if needed."""
        await self.annotate(check_session_id(session_id), [event])

    async def add_event(
        self, session_id: str, event_type: str, content: Any, metadata: dict[str, Any] | None = None
    ) -> MemoryEvent:
        """Create an event, store it and return it."""
        event = self.create_event(event_type, content, metadata)
        await self.store_event(session_id, event)
        return event

    async def get_events(
        self,
        session_id: str | None = None,
        *,
        types: Collection[str] | None = None,
        limit: int | None = None,
        before: str | None = None,
    ) -> EventPage:
        """Return what happened in a session (None: in all of this scope), oldest first; `.next` leads to older ones.

        Args:
            session_id: An unknown session has no events.
            types: Only events of these types.
            limit: The newest this many; None for all, 0 for none.
            before: The `next` of a page, or the id of an event: only what happened before that.

        Raises:
            InvalidRequestError: `limit` is negative, or there is no event `before`.

        Source:
            Event names and shapes are KAOS's memory API.
        """
        if limit is not None and limit < 0:
            raise InvalidRequestError("limit must not be negative", param="limit")
        if limit == 0:
            return EventPage()
        if session_id is not None:
            check_session_id(session_id)
            return await session_events(self, session_id, types=types, limit=limit, before=before)
        return await scope_events(self, types=types, limit=limit, before=before)

    async def list_sessions(self, *, limit: int = 100, cursor: str | None = None) -> SessionPage:
        """Return the ids of this scope's sessions, the most recently used first; `.next` is the next page's cursor."""
        if limit < 1:
            raise InvalidRequestError("limit must be 1 or more", param="limit")
        return await self.read_page(limit=limit, cursor=cursor)

    async def delete_session(self, session_id: str, *, wait_s: float = 30) -> bool:
        """Delete a session and everything stored for it; a run in it is cancelled first.

        Returns:
            Whether there was such a session.

        Raises:
            SessionBusyError: A run held it for all of `wait_s`.
        """
        check_session_id(session_id)
        async with self.open_session(session_id, limit=0, wait_s=wait_s, on_busy="interrupt") as session:
            if session.exists:
                await self.delete(session_id)
            return session.exists

    async def build_conversation_context(self, session_id: str, max_events: int = 20) -> str:
        """Return the newest exchanges of a session as lines `User: ...` and `Agent: ...`, oldest first.

        Args:
            session_id: An unknown session gives an empty text.
            max_events: The newest this many user messages and agent responses; nothing else counts.
        """
        events = await self.get_events(session_id, types=("user_message", "agent_response"), limit=max_events)
        names = {"user_message": "User", "agent_response": "Agent"}
        return "\n".join(f"{names[event.event_type]}: {event.content}" for event in events)


trace_memory(Memory)
