"""When certificates are made anew, and that a client who trusts the authorities trusts the server."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from quartermaster.kube.certificates import DAY, Material, renewed

NOW = 1_795_845_600.0
NAMES = ("qm.system.svc", "qm.system.svc.cluster.local")


def make(now: float = NOW) -> Material:
    made = renewed(None, names=NAMES, now=now)
    assert made is not None
    return made


def trusted(material: Material, authorities: bytes, *, now: float, name: str = NAMES[0]) -> bool:
    from datetime import UTC, datetime  # noqa: PLC0415

    store = Store(x509.load_pem_x509_certificates(authorities))
    verifier = PolicyBuilder().store(store).time(datetime.fromtimestamp(now, UTC))
    certificate = x509.load_pem_x509_certificate(material.certificate)
    try:
        verifier.build_server_verifier(x509.DNSName(name)).verify(certificate, [])
    except VerificationError:
        return False
    return True


def test_a_new_one_is_good_and_stays() -> None:
    made = make()
    assert all(trusted(made, made.authorities, now=NOW, name=name) for name in NAMES)
    assert not trusted(made, made.authorities, now=NOW, name="other.system.svc")
    assert renewed(made, names=NAMES, now=NOW) is None
    assert renewed(made, names=NAMES, now=NOW + 59 * DAY) is None


def test_a_serving_certificate_is_made_anew_in_time_under_the_same_authority() -> None:
    made, later = make(), NOW + 61 * DAY
    fresh = renewed(made, names=NAMES, now=later)
    assert fresh is not None
    assert (fresh.authorities, fresh.authority_key) == (made.authorities, made.authority_key)
    assert fresh.key != made.key
    assert trusted(fresh, made.authorities, now=later + 80 * DAY)
    assert not trusted(made, made.authorities, now=later + 80 * DAY)


def test_an_authority_is_replaced_in_time_and_both_are_trusted_meanwhile() -> None:
    old = make()
    at = NOW + 3300 * DAY
    serving = renewed(old, names=NAMES, now=at - 20 * DAY)
    assert serving is not None
    fresh = renewed(serving, names=NAMES, now=at)
    assert fresh is not None
    assert fresh.authorities.endswith(old.authorities)
    assert fresh.authority_key != old.authority_key
    assert trusted(fresh, fresh.authorities, now=at)
    assert trusted(serving, fresh.authorities, now=at), "a replica that still serves the old one"
    assert not trusted(fresh, old.authorities, now=at)
    assert renewed(fresh, names=NAMES, now=at) is None
    much_later = renewed(fresh, names=NAMES, now=at + 400 * DAY)
    assert much_later is not None
    assert not much_later.authorities.endswith(old.authorities), "what has run out is trusted no more"


def test_other_names_need_another_certificate() -> None:
    fresh = renewed(make(), names=("new.system.svc", "127.0.0.1"), now=NOW)
    assert fresh is not None
    assert trusted(fresh, fresh.authorities, now=NOW, name="new.system.svc")


@pytest.mark.parametrize("field", ["authorities", "authority_key", "certificate", "key"])
@pytest.mark.parametrize("with_", [b"", b"nonsense", None])
def test_what_does_not_belong_together_is_thrown_away(field: str, with_: bytes | None) -> None:
    other = getattr(make(), field) if with_ is None else with_
    spoilt = replace(make(), **{field: other})
    fresh = renewed(spoilt, names=NAMES, now=NOW)
    assert fresh is not None
    assert trusted(fresh, fresh.authorities, now=NOW)
