"""What the README and docs/ say: their code runs, their tables are those of the code, their links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import threading
import tomllib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic_ai import Agent
from pytest_examples import CodeExample, EvalExample, find_examples

from pais_sdk import Settings, mock_model, serve
from pais_sdk.server.chat_request import REFUSED, ChatRequest
from pais_sdk.settings import environment_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVED = "http://127.0.0.1:8000"
VARIABLES = {
    name
    for field in Settings.model_fields.values()
    for name in getattr(field.validation_alias, "choices", ())
    if name.isupper()
}
OF_THE_AGENTS_LIBRARIES = {"OPENAI_API_KEY"}


def name_of(value: Any) -> str:
    return f"{value.path.name}:{value.start_line}" if isinstance(value, CodeExample) else str(value)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield a name and the text of each block in a language."""
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(rf"^```{language}\b.*?\n(.*?)^```", text, flags=re.M | re.S):
            yield f"{page.name}:{text[: block.start()].count(chr(10)) + 1}", block[1]


def curl_lines() -> Iterator[Any]:
    for name, text in blocks("sh"):
        lines = text.replace("\\\n", " ").splitlines()
        for number, line in enumerate(line for line in lines if line.startswith("curl ")):
            yield pytest.param(line, id=f"{name}.{number}")


@contextmanager
def example_is_served(target: str, *options: str, **environment: str) -> Generator[str]:
    """Serve a target by the command, in a process of its own; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pais_sdk.serve", "--port", "0", *options, target],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name.upper() not in VARIABLES} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    log: queue.Queue[str | None] = queue.Queue()

    def read(lines: Any = process.stderr) -> None:
        for line in lines:
            log.put(line)
        log.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        said = ""
        while (line := log.get(timeout=30)) is not None:
            said += line
            if found := re.search(r"listens on (http://\S+)", line):
                yield found[1]
                return
        pytest.fail(f"the example did not start:\n{said}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        reader.join(10)
        process.stderr.close()


@pytest.fixture(scope="module")
def served_url() -> Generator[str]:
    with example_is_served("examples/greeter.py", "--env-file", "examples/greeter.env") as url:
        yield url


def as_script(source: str) -> str:
    """Return code that runs as a file: the notebook cells among the blocks have an `await` at top level."""
    flags = compile(source, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).co_flags
    if not flags & inspect.CO_COROUTINE:
        return source
    return f"import asyncio\n\n\nasync def cell():\n{textwrap.indent(source, '    ')}\n\nasyncio.run(cell())\n"


@pytest.mark.parametrize("example", list(find_examples(*PAGES)), ids=name_of)
def test_a_python_block_runs_and_prints_what_it_says(
    example: CodeExample,
    eval_example: EvalExample,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    source = re.sub(r"^( *)# > ", r"\1#> ", example.source, flags=re.M)  # ruff's form of a comment -> the library's
    if SERVED in source:
        source = source.replace(SERVED, request.getfixturevalue("served_url"))
    if re.search(r"^(async )?def test_|^class Test", source, flags=re.M):
        run_tests(source, tmp_path)
        return
    monkeypatch.chdir(tmp_path)  # for what a block stores in a file
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the library puts the block there
    eval_example.set_config(line_length=120)
    eval_example.run_print_check(replace(example, source=as_script(source)))


def run_tests(source: str, folder: Path) -> None:
    (folder / "test_block.py").write_text(source)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(folder),
            str(folder),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here; .ci/run installs it")
@pytest.mark.parametrize("line", list(curl_lines()))
def test_a_curl_line_is_answered(line: str, served_url: str) -> None:
    assert SERVED in line
    done = run_shell(line.replace(SERVED, served_url))
    assert done.returncode == 0, done.stderr
    assert '"error"' not in done.stdout
    if "/v1/chat/completions" in line:
        streamed = '"stream": true' in line
        assert done.stdout.endswith("data: [DONE]\n\n") if streamed else "Hello, Alice! It is good" in done.stdout


def run_shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, "no_proxy": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_mock_responses_of_the_docs_work_in_the_environment(tmp_path: Path) -> None:
    (block,) = [text for _, text in blocks("sh") if "export DEBUG_MOCK_RESPONSES=" in text]
    export, command = block.splitlines()
    _, assignment = shlex.split(export)
    name, _, value = assignment.partition("=")
    (tmp_path / "empty.env").touch()  # in place of a .env of whoever runs the tests
    with example_is_served(command.split()[-1], "--env-file", str(tmp_path / "empty.env"), **{name: value}) as url:
        body = {"messages": [{"role": "user", "content": "Greet World"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False)
        events = httpx.get(f"{url}/memory/events", trust_env=False)
    assert "The greeting was sent successfully." in answer.text
    assert "Hello, World!" in events.text


@pytest.mark.parametrize("name", ["serve", "test"])
def test_a_command_of_the_readme_can_be_found_by_a_script(name: str) -> None:
    commands = re.findall(rf"<!-- command: {name} -->\n```sh\n([^\n]+)\n```", (ROOT / "README.md").read_text())
    assert len(commands) == 1
    assert commands[0].startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_environment_table_is_that_of_the_settings() -> None:
    text = (ROOT / "docs/environment.md").read_text()
    written = text.partition("<!-- environment table -->\n")[2].partition("<!-- end -->")[0]
    assert written.strip() == environment_table()


def test_the_env_example_knows_only_variables_that_are_read() -> None:
    named = re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), flags=re.M)
    for name in ("MCP_SERVER_SEARCH_URL", "PEER_AGENT_WRITER_CARD_URL", "PEER_AGENT_WRITER_API_KEY"):
        named.remove(name)  # their names come from lists of names
    assert set(named) - VARIABLES == OF_THE_AGENTS_LIBRARIES
    assert len(named) == len(set(named))


def test_the_page_on_http_names_every_route_and_parameter() -> None:
    text = (ROOT / "docs/http.md").read_text()
    routes: list[Any] = serve(Agent(), model=mock_model([]))._app.routes
    for route in routes:
        assert route.path.replace(":path", "") in text
    for parameter in (*ChatRequest.model_fields, *REFUSED):
        assert f"`{parameter}`" in text


def test_every_dependency_has_its_reason() -> None:
    project: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()]
    requirements = [text for group in groups for text in group if isinstance(text, str)]
    reasons = (ROOT / "docs/dependencies.md").read_text()
    for requirement in [*project["project"]["dependencies"], *requirements]:
        name = re.split(r"[><=!~]", requirement)[0]
        assert name.startswith("pais-sdk") or f"`{name}`" in reasons


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_no_page_names_a_path_of_a_machine() -> None:
    for page in [*PAGES, ROOT / "requirements.lock", ROOT / "requirements-dev.lock"]:
        assert not re.search(r"/home/|/root/|/tmp/|/Users/", page.read_text()), page.name
