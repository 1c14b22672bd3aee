"""Sends rows of the table and keeps what a client can see of the answers.

One connection for requests, one more for each stream. Nothing of an answer is judged or changed here, only left out:
headers that no client acts upon.
"""

import contextlib
import dataclasses
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

ANSWER_WITHIN_S = 10.0
EVENT_WITHIN_S = 5.0
PAUSE_S = 0.02
KEPT_HEADERS = ("Content-Type", "Warning", "Retry-After", "Allow", "Location")
_BROKEN = (OSError, http.client.HTTPException)
END = {"type": "<the server ended the stream>"}
SILENCE = {"type": f"<no event within {EVENT_WITHIN_S:.0f} s>"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back; status 0 if nothing did. `body` is parsed JSON, or text; `events` are those of a stream."""

    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: Any = None
    events: list[Any] | None = None


def run(server: Server, story: Story) -> dict[str, Answer]:
    """Play a story against a server; the answers as they came, by name of the request, in order."""
    with contextlib.ExitStack() as stack:
        connection = _connect(server, stack, timeout_s=ANSWER_WITHIN_S)
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
                answer = _read(streams.get(request.path), request)
            else:
                answer, stream = _open(_connect(server, stack, timeout_s=EVENT_WITHIN_S), server, request, variables)
                if request.stream == "open" and stream is not None:
                    streams[request.name] = stream
                elif stream is not None:
                    answer = dataclasses.replace(answer, events=_events(stream, request.events))
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


def _connect(server: Server, stack: contextlib.ExitStack, *, timeout_s: float) -> http.client.HTTPConnection:
    address = urllib.parse.urlsplit(server.url)
    assert address.hostname is not None
    if address.scheme == "https":
        trust = ssl.create_default_context(cadata=server.ca)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            address.hostname, address.port, timeout=timeout_s, context=trust
        )
    else:
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_s)
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
        try:
            answer = _answer(_send(connection, server, request, variables))
        except _BROKEN as error:
            connection.close()  # the next request opens it again
            return _no_answer(error)
        seen = {path: answer.status if path == "status" else dig(answer.body, path) for path in wanted}
        if seen == wanted or time.monotonic() > deadline:
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


def _open(
    connection: http.client.HTTPConnection, server: Server, request: Request, variables: Variables
) -> tuple[Answer, http.client.HTTPResponse | None]:
    """Start a stream; None with the answer of a server that refuses."""
    try:
        response = _send(connection, server, request, variables)
        if response.status != http.HTTPStatus.OK:
            return _answer(response), None
    except _BROKEN as error:
        return _no_answer(error), None
    return Answer(status=response.status, headers=_headers(response)), response


def _read(stream: http.client.HTTPResponse | None, request: Request) -> Answer:
    if stream is None:
        return Answer(status=0, body="<the stream is not open>")
    return Answer(status=200, events=_events(stream, request.events))


def _no_answer(error: Exception) -> Answer:
    """What is recorded of a server that hangs or hangs up."""
    return Answer(status=0, body=f"<{type(error).__name__}>")


def _headers(response: http.client.HTTPResponse) -> dict[str, list[str]]:
    return {name: values for name in KEPT_HEADERS if (values := response.headers.get_all(name))}


def _events(stream: http.client.HTTPResponse, count: int | None) -> list[Any]:
    events: list[Any] = []
    while count is None or len(events) < count:
        try:
            line = stream.readline()
        except TimeoutError:
            return [*events, SILENCE]
        except _BROKEN:
            return [*events, END]
        if not line:
            return events if count is None else [*events, END]
        events.append(json.loads(line))
    return events
