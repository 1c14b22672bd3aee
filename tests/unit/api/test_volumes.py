"""What a claim may have, and the nodes that leaves; where several claims come together, against all there is to try."""

from itertools import product as every
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.api import volumes as api
from quartermaster.api.objects import PodObject, read
from quartermaster.api.volumes import ANYWHERE, ClaimObject, ClassObject, Option, VolumeObject
from quartermaster.model.labels import HOSTNAME, LabelSelector, Operator, Requirement
from tests.unit.controllers.storage import claim, storage_class, volume

Json = dict[str, Any]


def a_claim(**spec: Any) -> ClaimObject:
    value = claim("c", "local", **spec)
    value["metadata"] |= {"namespace": "team", "uid": "u"}
    return read(ClaimObject, value)


def a_volume(*, phase: str = "Available", labels: Json | None = None, **spec: Any) -> VolumeObject:
    value = volume("v", spec.pop("storage", "local"), "n", **spec)
    value["metadata"] |= {"labels": labels or {}}
    return read(VolumeObject, value | {"status": {"phase": phase}})


def asks(key: str, *values: str) -> LabelSelector:
    return LabelSelector(requirements=(Requirement(key=key, operator=Operator.IN, values=values),))


MINE = {"namespace": "team", "name": "c", "uid": "u"}


@pytest.mark.parametrize(
    ("fits", "made", "asked"),
    [
        (True, {}, {}),
        (False, {"size": "9Gi"}, {}),
        (True, {"size": "10737418240"}, {"size": "10Gi"}),
        (False, {"storage": "other"}, {}),
        (False, {"volumeMode": "Block"}, {}),
        (True, {"volumeMode": "Filesystem"}, {}),
        (False, {}, {"mode": "ReadWriteMany"}),
        (False, {"volumeAttributesClassName": "fast"}, {}),
        (False, {"phase": "Released"}, {}),
        (False, {}, {"selector": {"matchLabels": {"kind": "ssd"}}}),
        (True, {"labels": {"kind": "ssd"}}, {"selector": {"matchLabels": {"kind": "ssd"}}}),
        (True, {"claimRef": MINE, "phase": "Pending"}, {}),
        (True, {"claimRef": MINE | {"uid": ""}}, {"selector": {"matchLabels": {"kind": "ssd"}}}),
        (False, {"claimRef": MINE | {"uid": "older"}}, {}),
        (False, {"claimRef": MINE | {"name": "other"}}, {}),
    ],
)
def test_what_fits(fits: bool, made: Json, asked: Json) -> None:
    assert api.fits(a_volume(**made), a_claim(**asked)) is fits


def test_a_volume_that_is_named_is_not_yet_bound() -> None:
    assert not a_claim(volumeName="v").bound
    value = claim("c", "local", volumeName="v")
    value["metadata"]["annotations"] = {api.BIND_COMPLETED: "yes"}
    assert read(ClaimObject, value).bound


def test_the_class_of_old_comes_first() -> None:
    value = claim("c", "new")
    value["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "old"}
    assert read(ClaimObject, value).storage_class == "old"


def test_claims_of_a_pod_are_those_it_names_and_its_own() -> None:
    volumes = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "none", "emptyDir": {}},
    ]
    pod = read(PodObject, {"metadata": {"name": "p"}, "spec": {"volumes": volumes}})
    assert api.claims_of(pod) == [("data", False), ("p-scratch", True)]


def test_where_a_volume_is_said_by_its_affinity_and_by_labels_of_old() -> None:
    assert api.terms_of(a_volume()) == (asks(HOSTNAME, "n"),)
    zone = "topology.kubernetes.io/zone"
    (term,) = api.terms_of(a_volume(labels={zone: "a__b", "other": "x"}))
    assert term.matches({HOSTNAME: "n", zone: "b"})
    assert not term.matches({HOSTNAME: "n", zone: "c"})
    assert not term.matches({HOSTNAME: "m", zone: "a"})


def test_a_class_without_topologies_makes_volumes_anywhere() -> None:
    assert api.allowed(read(ClassObject, storage_class("disk"))) == ANYWHERE
    topologies = [{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]
    assert api.allowed(read(ClassObject, storage_class("disk", allowedTopologies=topologies))) == (asks("zone", "a"),)


def test_nodes_in_all_of_several_terms() -> None:
    hosts, zones = (asks(HOSTNAME, "a", "b"),), (asks("zone", "x"), asks("zone", "y"))
    both = api.product(hosts, zones)
    assert api.matches(both, {HOSTNAME: "a", "zone": "y"})
    assert not api.matches(both, {HOSTNAME: "c", "zone": "y"})
    assert api.product(hosts, (asks(HOSTNAME, "c"),)) == ()
    assert api.product(hosts, ANYWHERE) == hosts
    assert api.product() == ANYWHERE


def test_a_thousand_nodes_are_one_term_and_terms_are_bounded() -> None:
    assert len(api.union(asks(HOSTNAME, f"n-{index}") for index in range(1000))) == 1
    many = (
        LabelSelector(requirements=(*asks("a", str(i)).requirements, *asks("b", "x").requirements)) for i in range(99)
    )
    assert len(api.union(many)) == api.MOST_TERMS


def test_a_volume_for_every_claim_is_found_where_the_first_choice_is_wrong() -> None:
    here = (asks(HOSTNAME, "n"),)
    either, one = [Option("a", here), Option("b", here)], [Option("a", here)]
    assert api.seated([either, one], {HOSTNAME: "n"}) == ["b", "a"]
    assert api.seated([one, one], {HOSTNAME: "n"}) is None
    assert api.seated([either], {HOSTNAME: "m"}) is None
    assert api.seated([[Option("", ANYWHERE)], [Option("", ANYWHERE)]], {}) == ["", ""]


NODES = [{HOSTNAME: host, "zone": zone} for host, zone in zip("abcd", "xxyy", strict=True)]
terms = st.lists(
    st.one_of(
        st.sampled_from("abcd").map(lambda host: asks(HOSTNAME, host)),
        st.sampled_from("xy").map(lambda zone: asks("zone", zone)),
        st.just(LabelSelector()),
    ),
    min_size=1,
    max_size=2,
).map(tuple)
volumes = st.lists(terms, max_size=6).map(lambda found: [Option(f"v{i}", each) for i, each in enumerate(found)])


@given(volumes, st.lists(st.tuples(st.sets(st.integers(0, 5)), st.none() | terms), max_size=3))
def test_the_nodes_where_claims_come_together_are_those_where_each_has_a_volume(
    there: list[Option], wanted: list[tuple[set[int], Any]]
) -> None:
    claims = [
        [option for index, option in enumerate(there) if index in may] + ([] if made is None else [Option("", made)])
        for may, made in wanted
    ]
    found = api.places(claims)
    for labels in NODES:
        here = [[option.volume for option in options if api.matches(option.terms, labels)] for options in claims]
        possible = any(len(named := [volume for volume in way if volume]) == len(set(named)) for way in every(*here))
        assert api.matches(found, labels) is possible
        assert (api.seated(claims, labels) is not None) is possible
