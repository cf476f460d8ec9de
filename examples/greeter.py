"""A plain Pydantic AI agent with one tool; nothing in it knows that it is served."""

from pydantic_ai import Agent

agent = Agent(name="greeter", instructions="You greet people. Use the tool for every name you are given.")


@agent.tool_plain
def greet(name: str) -> str:
    """Say hello to someone.

    Args:
        name: Who to greet.
    """
    return f"Hello, {name}!"
