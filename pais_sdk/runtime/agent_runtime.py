"""AgentRuntime: one agent, its memory, and the runs in its sessions."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset

from .._loop import loop_thread
from ..errors import ConfigurationError, DelegationLoopError, OverloadedError
from ..events import RunOutcome
from ..mcp import MCPServerStatus
from ..memory import LocalMemory, Memory, OnBusy, check_session_id
from .admission import Admission
from .arguments import RunArguments
from .efforts import Effort, Efforts
from .ended import successful
from .exchange import Exchange
from .exchanges import Exchanges
from .lifetime import Home, HomeGoneError, Lifetime, loop_ended
from .limits import check_id, check_limits
from .mcp_servers import statuses_among, version_among
from .request import Prompt, RunOptions, RunRequest, check_request
from .run_telemetry import RunTelemetry
from .stream import RunStream, finished
from .tool_list import ToolList

T = TypeVar("T")
OutputT = TypeVar("OutputT")


class AgentRuntime(Generic[OutputT]):
    """Runs a Pydantic AI agent in sessions; the agent itself is never changed.

    It opens by itself on first use, on the event loop of that use, and calls from other loops are handed over to it.
    Close it with `async with` or `close()`.

    Args:
        agent: Any agent, with its own deps, output, tools, capabilities and model.
        memory: Where sessions live; a LocalMemory of its own if None.
        id: Tells this agent from others where agents delegate to each other; a random one if None. Processes that
            serve one agent should have one.
        name: How the agent is called; the agent's own name, else `agent`, if None.
        description: What the agent does; the agent's own description if None.
        model: Takes the place of the agent's model.
        toolsets: Added to the agent's.
        capabilities: Added to the agent's.
        instructions: Added to the agent's.
        deps: What tools get as `ctx.deps`: a value, or something to call for each run, sync or async, with an
            `AgentDeps` or with nothing. An agent without a deps type of its own gets `AgentDeps(session_id, memory)`.
        max_steps: Model requests in one run.
        history_limit: The newest messages of the session that a run sees, extended back to the start of the run that
            holds the oldest of them; 0 for none.
        timeout_s: Seconds that one run may take; None for any time.
        tool_timeout_s: Seconds that one tool call may take; None for any time.
        max_active_runs: Runs at once.
        max_queued_runs: Runs that may wait, for their session or for a place; one more is refused at once.
        max_runs_per_scope: Active and waiting runs of one scope; one more is refused at once. None for no such limit.
        on_busy: What a second run in a session does: `queue` waits for the first, `reject` is refused, `interrupt`
            cancels the first.
        busy_wait_s: The longest wait for a session, and then for a place, in seconds.
        on_disconnect: What becomes of a run whose reader leaves: `cancel` or `finish`.
        efforts: Names for models to choose from in each call: `{"quick": model, "deep": (model, settings)}`; None for a
            model is the one above.
        default_effort: The effort of a call that names none; None for that model as it is.

    Raises:
        ConfigurationError: An argument cannot work, or the agent needs deps and none were given.
    """

    def __init__(
        self,
        agent: AbstractAgent[Any, OutputT],
        *,
        memory: Memory | None = None,
        id: str | None = None,
        name: str | None = None,
        description: str | None = None,
        model: Model | str | None = None,
        toolsets: Sequence[AbstractToolset[Any]] = (),
        capabilities: Sequence[AbstractCapability[Any]] = (),
        instructions: str | None = None,
        deps: Any = None,
        max_steps: int = 10,
        history_limit: int = 50,
        timeout_s: float | None = None,
        tool_timeout_s: float | None = None,
        max_active_runs: int = 100,
        max_queued_runs: int = 100,
        max_runs_per_scope: int | None = None,
        on_busy: OnBusy = "queue",
        busy_wait_s: float = 30,
        on_disconnect: Literal["cancel", "finish"] = "cancel",
        efforts: Mapping[str, Effort] | None = None,
        default_effort: str | None = None,
    ) -> None:
        if not isinstance(agent, AbstractAgent):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"{agent!r} is not a Pydantic AI agent")
        check_limits(
            max_steps=max_steps,
            history_limit=history_limit,
            timeout_s=timeout_s,
            tool_timeout_s=tool_timeout_s,
            busy_wait_s=busy_wait_s,
            on_busy=on_busy,
            on_disconnect=on_disconnect,
        )
        self.agent = agent
        self.memory: Memory = LocalMemory() if memory is None else memory
        self.id = uuid.uuid4().hex if id is None else check_id(id)
        self.name = name or agent.name or "agent"
        self.description = description or (agent.description if isinstance(agent.description, str) else "")
        self.max_steps = max_steps
        self.history_limit = history_limit
        self.on_busy: OnBusy = on_busy
        self.busy_wait_s = busy_wait_s
        self.on_disconnect = on_disconnect
        self._efforts = Efforts(efforts or {}, default=default_effort)
        self.arguments = RunArguments(
            agent,
            model=model,
            toolsets=toolsets,
            capabilities=capabilities,
            instructions=instructions,
            deps=deps,
            max_steps=max_steps,
            tool_timeout_s=tool_timeout_s,
            efforts=self._efforts,
        )
        self._timeout_s = timeout_s
        self.tool_timeout_s = tool_timeout_s
        self.admission = Admission(
            max_active_runs=max_active_runs,
            max_queued_runs=max_queued_runs,
            max_runs_per_scope=max_runs_per_scope,
            wait_s=busy_wait_s,
        )
        self._lifetime = Lifetime(self._enter)
        self._exchanges = Exchanges(self, self._lifetime)
        self._tools = ToolList(
            lambda: self.arguments.list_tools(self.memory), lambda: version_among(self.arguments.toolsets())
        )
        self.model_status: Literal["ok", "degraded", "unknown"] = "unknown"
        """Whether the model answered the newest run that asked it."""

    # Opening and closing

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open memory, model and toolsets on this event loop; nothing where it is open already."""
        await self._lifetime.open()

    async def close(self) -> None:
        """Cancel what runs, store it, and close memory, model and toolsets."""
        await self._lifetime.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the runtime is open on; None while it is closed."""
        return self._lifetime.loop

    def held(self) -> AbstractAsyncContextManager[Home]:
        """Keep the runtime open while a block runs; what a holder opened, the last holder closes."""
        return self._lifetime.held()

    async def _enter(self, stack: AsyncExitStack, home: Home) -> None:
        self._exchanges.forget_the_gone()
        for part in (self.memory, *self.arguments.models(), *self.arguments.toolsets(), self._tools):
            await stack.enter_async_context(part)
        stack.push_async_callback(self._exchanges.cancel_all, home)

    # Runs

    async def run(self, prompt: Prompt, **options: Unpack[RunOptions]) -> RunOutcome[OutputT]:
        """Run the agent once in a session and return its outcome.

        Args:
            prompt: What the user says: text, or a list of text and Pydantic AI's content parts. None to answer a
                `history` that ends with a request.
            session_id: 1 to 128 characters of letters, digits and `._:-`; None for a new session.
            scope: The namespace of the session, such as a user; None for the common one.
            history: The messages that came before, in place of what the memory holds. For a session that is not
                stored yet they are stored with the run.
            instructions: For this run, added to the agent's.
            model_settings: For this run, over the effort's, and those over the agent's.
            effort: One of the runtime's `efforts`; None for `default_effort`.
            tools: The names of the tools that the model may use; None for all.
            timeout_s: Seconds for this run; the runtime's own limit holds too.
            metadata: For the run's telemetry and messages; the model does not see it.
            store: False keeps nothing of this run.
            owner: Anything; `cancel_all(owner)` cancels the runs of one owner.
            chain: The ids of the agents that delegated to each other until this run, the first one first.
            surface: What the call came through, for telemetry: a short word, `python` if left out.

        Raises:
            InvalidRequestError: An argument is wrong.
            DelegationLoopError: This agent is in the `chain` already.
            SessionBusyError: Another run holds the session.
            OverloadedError: Too many runs are active.
            MemoryUnavailableError: The memory does not answer.
            MaxStepsError: The run reached `max_steps`. Like the three below it carries the `outcome`.
            RunTimeoutError: The run took too long.
            RunCancelledError: The run was cancelled.
            RunFailedError: The model, the output or the memory failed; `outcome.error` says how.
        """
        exchange = await self.begin(self._check(prompt, options, streaming=False), until_held=False)
        try:
            await exchange.home.call(lambda: asyncio.wait([exchange.ended]))
        except HomeGoneError:
            exchange.lost()
            raise loop_ended() from None
        except asyncio.CancelledError:
            if self.on_disconnect == "cancel" or not exchange.started.done():
                exchange.cancel()
                await exchange.home.call(lambda: finished(exchange.task))
            raise
        exchange.started.result()  # raises what kept it from beginning
        assert exchange.outcome is not None
        return successful(exchange.outcome)

    def run_sync(self, prompt: Prompt, **options: Unpack[RunOptions]) -> RunOutcome[OutputT]:
        """Do the same as `run` in a script, blocking; the runtime lives on the SDK's own loop thread then.

        Raises:
            RuntimeError: There is a running event loop here: use `await runtime.run(...)`.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return loop_thread().run(lambda: self.run(prompt, **options))
        raise RuntimeError("run_sync() would block the event loop that runs here; use: await runtime.run(...)")

    def stream(self, prompt: Prompt, *, quiet: bool = False, **options: Unpack[RunOptions]) -> RunStream[OutputT]:
        """Run the agent once in a session, with its events: `async with runtime.stream(...) as run`.

        Takes what `run` takes; with `quiet` its only event is the last one, which costs no more than `run` does.
        Entering the block raises what keeps a run from beginning; from RunStarted on nothing is raised, and the last
        event is RunEnded with the outcome, whatever happened.
        """
        return RunStream(self, self._check(prompt, options, streaming=not quiet))

    async def cancel(self, session_id: str, scope: str | None = None) -> bool:
        """Cancel what runs, or waits to run, in a session; returns whether there was anything.

        The run ends with stop reason `cancelled`, and what it did is stored.
        """
        check_session_id(session_id)
        return self._exchanges.cancel(session_id, scope)

    async def cancel_all(self, owner: object = None) -> None:
        """Cancel what runs or waits, all or that of one owner, and return when it has ended and is stored.

        Called from a tool, it does not wait for the run that the tool is a part of.
        """
        home = self._lifetime.home
        if home is not None:
            await home.call(lambda: self._exchanges.cancel_all(home, owner))

    async def ended(self, owner: object = None) -> None:
        """Return when nothing runs or waits any more, of all or of one owner; it cancels nothing."""
        home = self._lifetime.home
        if home is not None:
            await home.call(lambda: self._exchanges.ended(home, owner))

    async def delete_session(self, session_id: str, scope: str | None = None) -> bool:
        """Cancel what runs in a session and delete it; returns whether there was such a session."""
        ran = await self.cancel(session_id, scope)
        memory = self.memory.scoped(scope)
        deleted = await self.call(lambda: memory.delete_session(session_id, wait_s=self.busy_wait_s))
        return deleted or ran

    async def list_tools(self) -> list[ToolDefinition]:
        """Return the tools that the model is offered, as it sees them.

        They are listed once for all callers, and again when those of an MCP server changed or 30 seconds are over.
        A listing is a run that is left before its first model request: `deps` is called for it, with the session id
        `tools`, and so are instructions and the hooks of capabilities.

        Raises:
            TimeoutError: A toolset did not answer within 5 seconds.
        """
        return await self.call(self._tools.get)

    @property
    def mcp_servers(self) -> list[MCPServerStatus]:
        """How each MCP server is at this moment, of the agent and of the runtime."""
        return statuses_among(self.arguments.toolsets())

    async def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await `work()` on the runtime's own event loop, opening it if needed; for what must not cross loops."""
        return await self._lifetime.call(lambda _: work())

    # For the parts of this package

    async def begin(self, request: RunRequest, *, until_held: bool = True) -> Exchange:
        """Start a run and return, as a rule when its session is held; then it raises what keeps it from beginning."""
        telemetry = RunTelemetry(self.name, request.surface, request.session_id, read=until_held)
        try:
            return await self._exchanges.begin(request, telemetry, until_held=until_held)
        except BaseException as error:
            telemetry.given_up(error)
            raise

    def check_admission(self, scope: str | None, *, surface: str) -> None:
        """Raise OverloadedError where a run of this scope would be refused at once; then it is a run that was refused.

        For surfaces that would have work before they can call for the run.
        """
        try:
            self.admission.check(scope)
        except OverloadedError as error:
            RunTelemetry(self.name, surface).given_up(error)
            raise

    def _check(self, prompt: Prompt, options: RunOptions, *, streaming: bool) -> RunRequest:
        request = check_request(prompt, options, efforts=self._efforts, timeout_s=self._timeout_s, streaming=streaming)
        if self.id in request.chain:
            error = DelegationLoopError(self.name)
            RunTelemetry(self.name, request.surface, request.session_id).given_up(error)
            raise error
        return request
