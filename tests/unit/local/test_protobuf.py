"""Protobuf bodies decode to what the same object is in JSON: the samples that Kubernetes publishes."""

import json
import lzma
from pathlib import Path

import pytest

from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.testing.kubernetes import Refused, kubernetes

SAMPLES = json.loads(lzma.decompress((Path(__file__).parent / "data/protobuf-samples.json.xz").read_bytes()))
DECODER = Protobuf()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_published_sample_decodes_to_its_json(name: str) -> None:
    raw, wanted = SAMPLES[name]
    assert DECODER.decode(bytes.fromhex(raw)) == wanted


async def test_protobuf_that_is_cut_off_is_a_bad_request() -> None:
    raw = bytes.fromhex(SAMPLES["core.v1.ConfigMap"][0])
    async with kubernetes() as api:
        for length in range(4, len(raw), 7):
            with pytest.raises(Refused) as refused:
                await api.create("configmaps", raw[:length], content_type="application/vnd.kubernetes.protobuf")  # type: ignore[arg-type]
            assert refused.value.code in (400, 422)
