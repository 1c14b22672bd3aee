"""Over a socket: TLS, tokens, streams that end when the client goes; and what a data directory keeps."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml

from quartermaster.local.apiserver.http import HttpServer, HttpTransport
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.transport import Request, Response
from quartermaster.model.errors import InvalidInput
from quartermaster.testing.kubernetes import Client, pod


async def client(api: LocalApi, token: str | None = None) -> HttpTransport:
    assert api.http is not None
    assert api.identity is not None
    return HttpTransport(
        api.http.url, token=api.identity.token if token is None else token, tls=api.identity.client_tls()
    )


async def test_the_same_requests_over_a_socket() -> None:
    async with LocalApi() as api:
        transport = await client(api)
        remote = Client(transport)
        made = await remote.create("pods", pod())
        assert await remote.get("pods/p") == made
        assert await Client(api.server.handle).get("pods/p") == made
        response = await remote.send("GET", "pods?watch=true&resourceVersion=0")
        assert response.stream is not None
        async with aclosing(response.stream) as stream:  # type: ignore[type-var]
            assert json.loads(await anext(aiter(stream)))["object"] == made
            assert api.server.metrics.watching == 1
        for _ in range(1000):
            if not api.server.metrics.watching:
                break
            await asyncio.sleep(0)
        await transport.close()
    assert api.server.metrics.watching == 0


async def test_a_wrong_token_is_nobody_and_none_is_anonymous() -> None:
    async with LocalApi() as api:
        for token, code in (("wrong", 401), ("", 403)):
            transport = await client(api, token)
            assert (await transport(Request.of("GET", "/api/v1/pods"))).status == code
            assert (await transport(Request.of("GET", "/healthz"))).status == (401 if token else 200)
            await transport.close()


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with LocalApi() as api:
        transport = await client(api)
        response = await transport(Request.of("POST", "/api/v1/namespaces/default/configmaps", b" " * 4_000_000))
        assert response.status == 413
        await transport.close()


async def test_the_kubeconfig_joins_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "config"
    other: dict[str, Any] = {"name": "mine", "cluster": {"server": "https://example.com"}}
    path.write_text(yaml.safe_dump({"kind": "Config", "clusters": [other], "contexts": [], "users": []}))
    async with LocalApi(kubeconfig=path) as api:
        config = yaml.safe_load(path.read_text())
        assert api.http is not None
        assert [item["name"] for item in config["clusters"]] == ["mine", "quartermaster"]
        assert config["clusters"][1]["cluster"]["server"] == api.http.url
        assert config["current-context"] == "quartermaster"
        assert path.stat().st_mode & 0o077 == 0


async def test_a_data_directory_keeps_objects_revision_and_identity(tmp_path: Path) -> None:
    async with LocalApi(folder=tmp_path) as first:
        one = Client(first.server.handle)
        made = await one.create("pods", pod())
        await one.create("pods", pod("gone"))
        await one.delete("pods/gone")
        revision, identity = first.server.cluster.store.revision, first.identity
    async with LocalApi(folder=tmp_path) as second:
        again = Client(second.server.handle)
        assert second.identity == identity
        assert second.server.cluster.store.revision == revision
        assert await again.names("pods") == ["p"]
        assert await again.get("pods/p") == made
        async with contextlib.aclosing(again.watch("pods?watch=true&resourceVersion=2")) as events:
            assert (await anext(events))["object"]["code"] == 410
        assert int((await again.create("pods", pod("next")))["metadata"]["resourceVersion"]) == revision + 1


async def test_a_directory_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="--data-dir"):
        LocalApi(folder=tmp_path / "file" / "inner")


async def test_requests_are_audited(tmp_path: Path) -> None:
    async with LocalApi(port=None, audit=tmp_path / "audit.jsonl") as api:
        await Client(api.server.handle).create("pods", pod())
    events = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    last = events[-1]
    assert (last["verb"], last["requestURI"], last["responseStatus"]["code"]) == (
        "create",
        "/api/v1/namespaces/default/pods",
        201,
    )
    assert last["user"]["username"] == "system:admin"


async def test_a_long_answer_in_pieces_is_no_stream_but_a_watch_is() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"a"'
        yield b": 1}"

    async def handle(_: Request) -> Response:
        return Response(200, stream=pieces())

    server = HttpServer(handle)
    await server.start()
    transport = HttpTransport(server.url)
    try:
        assert (await transport(Request.of("GET", "/api/v1/pods"))).json() == {"a": 1}
        watch = await transport(Request.of("GET", "/api/v1/pods?watch=true"))
        assert watch.stream is not None
        assert b"".join([part async for part in watch.stream]) == b'{"a": 1}'
        await server.stop()
        with pytest.raises(OSError, match="Connect"):
            await transport(Request.of("GET", "/api/v1/pods"))
    finally:
        await transport.close()
        await server.stop()
