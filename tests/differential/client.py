"""Sends rows of the table and keeps what a client can see of the answers.

One connection for requests, one more for each stream. Nothing of an answer is judged or changed here, only left out:
headers that no client acts upon.
"""

import contextlib
import http.client
import json
import ssl
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from tests.differential.protobuf import describe
from tests.differential.table import PROTOBUF, Request, Story, Variables, fill
from tests.kubernetes.server import Server

ANSWER_WITHIN_S = 30.0
EVENT_WITHIN_S = 5.0
PAUSE_S = 0.02
KEPT_HEADERS = ("Content-Type", "Warning", "Retry-After", "Allow", "Location")
SILENCE = {"type": f"<no event within {EVENT_WITHIN_S:.0f} s>"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back. `body` is parsed JSON, or text; `events` are those of a stream."""

    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: Any = None
    events: list[Any] | None = None


def run(server: Server, story: Story) -> dict[str, Answer]:
    """Play a story against a server; the answers as they came, by name of the request, in order."""
    with contextlib.ExitStack() as stack:
        connection = _connect(server, stack)
        variables = dict(story.variables)
        streams: dict[str, http.client.HTTPResponse] = {}
        answers: dict[str, Answer] = {}
        namespace = Request(
            name="namespace",
            method="POST",
            path="/api/v1/namespaces",
            headers={"Content-Type": "application/json"},
            body={"metadata": {"name": "$ns"}},
        )
        made = _answer(_send(connection, server, namespace, variables))
        if made.status != http.HTTPStatus.CREATED:
            raise AssertionError(f"{story.name}: wants a fresh server; its namespace answers {made}")
        for request in story.requests:
            if request.stream is None:
                answer = _ask(connection, server, request, variables)
            elif request.stream == "read":
                answer = Answer(status=200, events=_events(streams[request.path], request.events))
            else:
                stream = _send(_connect(server, stack), server, request, variables)
                answer = Answer(status=stream.status, headers=_headers(stream))
                if stream.status != http.HTTPStatus.OK:
                    answer = _answer(stream)
                elif request.stream == "open":
                    streams[request.name] = stream
                else:
                    answer = Answer(
                        status=stream.status, headers=_headers(stream), events=_events(stream, request.events)
                    )
                    stream.close()
            answers[request.name] = answer
            source = answer.events if answer.events is not None else answer.body
            variables |= {key: dig(source, path) for key, path in request.save.items()}
        return answers


def dig(value: Any, path: str) -> Any:
    """The part of a JSON value at a dotted path (`.`: all); numbers are positions in lists. None where nothing is."""
    for step in filter(None, path.split(".")):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _connect(server: Server, stack: contextlib.ExitStack) -> http.client.HTTPConnection:
    address = urllib.parse.urlsplit(server.url)
    assert address.hostname is not None
    if address.scheme == "https":
        trust = ssl.create_default_context(cadata=server.ca)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            address.hostname, address.port, timeout=ANSWER_WITHIN_S, context=trust
        )
    else:
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=ANSWER_WITHIN_S)
    stack.callback(connection.close)
    return connection


def _send(
    connection: http.client.HTTPConnection, server: Server, request: Request, variables: Variables
) -> http.client.HTTPResponse:
    headers = {"Authorization": f"Bearer {server.token}", "User-Agent": "differential/1", "Accept": "application/json"}
    filled = fill(dict(request.headers), variables)
    headers = {key: value for key, value in (headers | filled).items() if value is not None}
    body = request.raw
    if body is None and request.body is not None:
        body = json.dumps(fill(request.body, variables)).encode()
    elif body is not None and headers.get("Content-Type") != PROTOBUF:
        body = str(fill(body.decode(), variables)).encode()
    connection.request(request.method, str(fill(request.path, variables)), body=body, headers=headers)
    return connection.getresponse()


def _ask(connection: http.client.HTTPConnection, server: Server, request: Request, variables: Variables) -> Answer:
    deadline = time.monotonic() + ANSWER_WITHIN_S
    wanted = {path: fill(value, variables) for path, value in request.until.items()}
    while True:
        answer = _answer(_send(connection, server, request, variables))
        if (
            all(
                str(answer.status) == str(value) if path == "status" else dig(answer.body, path) == value
                for path, value in wanted.items()
            )
            or time.monotonic() > deadline
        ):
            return answer
        time.sleep(PAUSE_S)  # between two questions to a server that does this in the background


def _answer(response: http.client.HTTPResponse) -> Answer:
    content = response.read()
    kind = response.headers.get("Content-Type", "")
    body: Any = content.decode("utf-8", "replace") if not kind.startswith(PROTOBUF) else describe(content)
    if content[:1] in (b"{", b"["):  # some JSON is served as text
        with contextlib.suppress(ValueError):
            body = json.loads(content)
    return Answer(status=response.status, headers=_headers(response), body=body)


def _headers(response: http.client.HTTPResponse) -> dict[str, list[str]]:
    return {name: values for name in KEPT_HEADERS if (values := response.headers.get_all(name))}


def _events(stream: http.client.HTTPResponse, count: int | None) -> list[Any]:
    sock = stream.fp.raw._sock  # type: ignore[attr-defined]
    sock.settimeout(EVENT_WITHIN_S)
    events: list[Any] = []
    while count is None or len(events) < count:
        try:
            line = stream.readline()
        except TimeoutError:
            return [*events, SILENCE]
        if not line:
            return events if count is None else [*events, {"type": "<the server ended the stream>"}]
        events.append(json.loads(line))
    return events
