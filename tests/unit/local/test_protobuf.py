"""Protobuf is the same object as JSON, in both directions: the samples that Kubernetes publishes."""

import json
import lzma
from pathlib import Path

import pytest

from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.testing.kubernetes import Refused, kubernetes

SAMPLES = json.loads(lzma.decompress((Path(__file__).parent / "data/protobuf-samples.json.xz").read_bytes()))
DECODER = Protobuf()
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_published_sample_decodes_to_its_json(name: str) -> None:
    raw, wanted = SAMPLES[name]
    assert DECODER.decode(bytes.fromhex(raw)) == wanted


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_json_of_a_published_sample_encodes_to_its_bytes(name: str) -> None:
    raw, value = SAMPLES[name]
    assert DECODER.encode(value).hex() == raw


def test_numbers_and_times_of_any_size_survive() -> None:
    value = {
        "kind": "Lease",
        "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "a", "generation": -1, "creationTimestamp": "1969-12-31T23:59:59Z"},
        "spec": {"leaseDurationSeconds": 2**31 - 1, "renewTime": "2026-03-01T10:00:00.000001Z"},
    }
    assert DECODER.decode(DECODER.encode(value)) == value


async def test_a_client_that_reads_only_protobuf_gets_it_and_one_that_reads_both_gets_json() -> None:
    async with kubernetes() as api:
        await api.create("configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}})
        path = "/api/v1/namespaces/default/configmaps"
        only = await api.send("GET", f"{path}/a", accept=PROTOBUF)
        assert only.content_type == PROTOBUF
        assert DECODER.decode(only.body)["data"] == {"k": "v"}
        listed = await api.send("GET", path, accept=f"{PROTOBUF};q=1, application/json;q=0.5")
        assert DECODER.decode(listed.body)["items"][0]["metadata"]["name"] == "a"
        absent = await api.send("GET", f"{path}/b", accept=PROTOBUF)
        assert (absent.status, DECODER.decode(absent.body)["reason"]) == (404, "NotFound")
        both = await api.send("GET", f"{path}/a", accept=f"{PROTOBUF},application/json")
        assert both.content_type == "application/json"


async def test_a_watch_in_protobuf_is_events_behind_their_length() -> None:
    async with kubernetes() as api:
        await api.create("configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}})
        path = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1"
        answer = await api.send("GET", path, accept=f"{PROTOBUF};stream=watch")
        assert answer.content_type == f"{PROTOBUF};stream=watch"
        assert answer.stream is not None
        first = await anext(answer.stream)
        assert int.from_bytes(first[:4], "big") == len(first) - 4
        assert first[4:].startswith(b"\n\x05ADDED")
        assert DECODER.decode(first[first.index(b"k8s\x00") :])["data"] == {"k": "v"}
        await answer.stream.aclose()  # type: ignore[attr-defined]  # streams are async generators


async def test_protobuf_that_is_cut_off_is_a_bad_request() -> None:
    raw = bytes.fromhex(SAMPLES["core.v1.ConfigMap"][0])
    async with kubernetes() as api:
        for length in range(4, len(raw), 7):
            with pytest.raises(Refused) as refused:
                await api.create("configmaps", raw[:length], content_type="application/vnd.kubernetes.protobuf")  # type: ignore[arg-type]
            assert refused.value.code in (400, 422)
