"""Certificate files: validation at the start, reloads after a change, and log lines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from goverse.errors import ConfigError
from goverse.telemetry.tls import TlsMetrics
from goverse.tls.files import TlsFiles, named
from goverse.tls.material import Material
from goverse.tls.rotation import Rotating, keep_current
from tests.certificates import Authority, Volume
from tests.nodes import until

pytestmark = pytest.mark.requirement("SEC-3")

Spoil = Callable[[Authority, Volume], object]


def _files(volume: Volume, name: str = "") -> TlsFiles:
    return TlsFiles(
        link="wire",
        ca=named("wire.tls_ca", volume.ca),
        cert=named("wire.tls_cert", volume.cert),
        key=named("wire.tls_key", volume.key),
        name=name,
    )


def _rotating(files: TlsFiles, now: Callable[[], float] | None = None) -> Rotating[Material]:
    return Rotating(files, lambda _, material: material, **({"now": now} if now else {}))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def volume(tmp_path: Path, authority: Authority) -> Volume:
    return Volume(tmp_path / "volume").fill(authority.issue("first", "goverse-node"), authority.certificate)


def _encrypted() -> bytes:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def _spoil(name: str, content: bytes) -> Spoil:
    return lambda _, volume: (volume.folder / name).write_bytes(content)


def _a_folder(_: Authority, volume: Volume) -> None:
    volume.key.unlink()
    volume.key.mkdir()


SPOILT: dict[str, tuple[Spoil, str]] = {
    "no authority file": (lambda _, volume: volume.ca.unlink(), r"wire\.tls_ca: .*ca\.crt cannot be read: No such"),
    "no certificate": (lambda _, volume: volume.cert.unlink(), r"wire\.tls_cert: .*tls\.crt cannot be read: No such"),
    "a folder": (_a_folder, r"wire\.tls_key: .* Is a directory"),
    "an empty authority": (_spoil("ca.crt", b""), r"wire\.tls_ca: .* is not a valid PEM certificate"),
    "a broken certificate": (
        _spoil("tls.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        r"wire\.tls_cert: .* is not a valid PEM certificate",
    ),
    "no key in it": (_spoil("tls.key", b"hello"), r"wire\.tls_key: .* is not a valid PEM private key"),
    "an encrypted key": (_spoil("tls.key", _encrypted()), r"wire\.tls_key: .* is encrypted"),
    "another key": (
        lambda authority, volume: volume.key.write_bytes(authority.issue("other", "x")[1].read_bytes()),
        r"wire\.tls_key: .* does not belong to the certificate in .*tls\.crt",
    ),
    "an expired certificate": (
        lambda authority, volume: volume.fill(authority.issue_expired("old", "goverse-node"), authority.certificate),
        r"wire\.tls_cert: .* expired on 2020-01-02 00:00 UTC",
    ),
    "one of tomorrow": (
        lambda authority, volume: volume.fill(
            authority.issue(
                "early",
                "goverse-node",
                begins=datetime.now(UTC) + timedelta(days=1),
                ends=datetime(2090, 1, 1, tzinfo=UTC),
            ),
            authority.certificate,
        ),
        r"wire\.tls_cert: .* is not valid before",
    ),
    "another name": (
        lambda authority, volume: volume.fill(authority.issue("else", "a.example", "10.0.0.1"), authority.certificate),
        r"wire\.tls_cert: .* does not carry the name goverse-node.*; its names are: a\.example, 10\.0\.0\.1",
    ),
    "an expired authority": (
        lambda authority, volume: volume.ca.write_bytes(authority.issue_expired("old", "ca")[0].read_bytes()),
        r"wire\.tls_ca: .* contains no valid authority; the last one expired on 2020-01-02",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_invalid_files_are_refused_at_the_start_with_the_setting(
    kind: str, authority: Authority, volume: Volume
) -> None:
    spoil, said = SPOILT[kind]
    spoil(authority, volume)

    with pytest.raises(ConfigError, match=said) as caught:
        _rotating(_files(volume, "goverse-node"))

    assert str(caught.value.extra["setting"]).startswith("wire.tls_")


@pytest.mark.parametrize("kind", SPOILT)
def test_an_invalid_change_keeps_the_previous_files_and_is_logged_once(
    kind: str, authority: Authority, volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    rotating = _rotating(_files(volume, "goverse-node"))
    before = rotating.current
    spoil, _ = SPOILT[kind]
    spoil(authority, volume)
    for _ in range(4):
        rotating.check()

    assert rotating.current is before
    assert rotating.generation == 0
    assert rotating.reloads == {"taken": 0, "refused": 1}
    [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "still using the previous ones" in told.message
    assert "wire.tls_" in told.__dict__["reason"]
    assert told.__dict__["link"] == "wire"

    again = authority.issue("second", "goverse-node")
    volume.fill(again, authority.certificate)
    rotating.check()
    rotating.check()
    assert rotating.current.chain == again[0].read_bytes()
    assert rotating.reloads == {"taken": 1, "refused": 1}


def test_a_pair_is_used_only_once_it_is_copied_completely(authority: Authority, volume: Volume) -> None:
    rotating = _rotating(_files(volume))
    cert, key = authority.issue("second", "goverse-node")
    volume.cert.write_bytes(cert.read_bytes())
    rotating.check()
    volume.key.write_bytes(key.read_bytes())
    rotating.check()
    assert rotating.reloads == {"taken": 0, "refused": 0}

    rotating.check()

    assert rotating.current.key == key.read_bytes()
    assert rotating.reloads == {"taken": 1, "refused": 0}


def test_files_that_make_refuses_are_refused(volume: Volume) -> None:
    def make(files: TlsFiles, material: Material) -> None:
        raise OSError("too weak")

    with pytest.raises(ConfigError, match=r"wire\.tls_cert: .* cannot be used: too weak"):
        Rotating(_files(volume), make)


def test_the_expiry_of_a_certificate_is_logged_before_and_when_it_happens(
    authority: Authority, volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    begins, ends = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC)
    volume.fill(authority.issue("short", "goverse-node", begins=begins, ends=ends), authority.certificate)
    now = begins.timestamp() + 3_600
    rotating = _rotating(_files(volume), lambda: now)
    rotating.check()
    assert caplog.messages == []

    for day in (5.1, 5.5, 6.1, 6.2):
        now = begins.timestamp() + day * 86_400
        rotating.check()

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "TLS certificate expires soon"),
        ("ERROR", "TLS certificate has expired"),
    ]
    assert caplog.records[0].__dict__["expires"] == "2026-01-07 00:00 UTC"


def test_metrics_report_expiry_and_reloads(authority: Authority, volume: Volume) -> None:
    ends = datetime(2090, 1, 1, tzinfo=UTC)
    rotating = _rotating(_files(volume))
    volume.fill(authority.issue("long", "goverse-node", ends=ends), authority.certificate)
    rotating.check()
    rotating.check()
    volume.key.write_bytes(b"nothing")
    rotating.check()
    rotating.check()

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in TlsMetrics([rotating]).collect()
        for sample in family.samples
    }

    assert samples == {
        ("goverse_tls_certificate_expiry_timestamp_seconds", "wire"): ends.timestamp(),
        ("goverse_tls_reloads_total", "wire", "taken"): 1,
        ("goverse_tls_reloads_total", "wire", "refused"): 1,
    }


async def test_checking_continues_after_an_error(
    authority: Authority, volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    made = 0

    def make(_: TlsFiles, material: Material) -> Material:
        nonlocal made
        made += 1
        if made == 2:
            raise ZeroDivisionError
        return material

    rotating = Rotating(_files(volume), make)
    looking = asyncio.create_task(keep_current([rotating], look_s=0.001))
    volume.fill(authority.issue("second", "goverse-node"), authority.certificate)
    await until(lambda: made == 2)
    third = authority.issue("third", "goverse-node")
    volume.fill(third, authority.certificate)
    await until(lambda: rotating.current.chain == third[0].read_bytes())
    looking.cancel()

    assert "TLS certificates not checked" in caplog.text


def test_a_wildcard_carries_a_name(authority: Authority, volume: Volume) -> None:
    volume.fill(authority.issue("wild", "*.goverse.example"), authority.certificate)

    assert _rotating(_files(volume, "node.goverse.example")).current.chain
    with pytest.raises(ConfigError, match="does not carry the name"):
        _rotating(_files(volume, "node.other.example"))
