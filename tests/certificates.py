"""A private certificate authority for one test, and the certificates that it signs, as files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Authority:
    """A certificate authority that exists for one test."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.certificate = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.certificate))

    def issue(
        self, name: str, *identities: str, begins: datetime | None = None, ends: datetime | None = None
    ) -> tuple[Path, Path]:
        """Sign a certificate for these host names and addresses; return the files of the certificate and its key."""
        issued = self._authority.issue_cert(*identities, not_before=begins, not_after=ends)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def issue_expired(self, name: str, *identities: str) -> tuple[Path, Path]:
        """Sign a certificate that expired years ago."""
        return self.issue(name, *identities, begins=LONG_AGO, ends=LONG_AGO + timedelta(days=1))


@dataclass(frozen=True)
class Volume:
    """A folder of certificates whose files all change atomically, as in a secret volume of Kubernetes.

    The file names are links through a symbolic link, `..data`, to the folder of one generation. An update swaps that
    link.
    """

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def cert(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    def fill(self, pair: tuple[Path, Path], *authorities: Path) -> Volume:
        """Replace the certificate, the key and the trusted authorities."""
        contents = {"tls.crt": pair[0].read_bytes(), "tls.key": pair[1].read_bytes()}
        contents["ca.crt"] = b"".join(path.read_bytes() for path in authorities)
        return self.write(contents)

    def write(self, contents: dict[str, bytes]) -> Volume:
        """Replace all files by these."""
        self.folder.mkdir(parents=True, exist_ok=True)
        generation = self.folder / f"..generation-{len(list(self.folder.glob('..generation-*')))}"
        generation.mkdir()
        for name, content in contents.items():
            (generation / name).write_bytes(content)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(generation.name)
        os.replace(fresh, self.folder / "..data")  # noqa: PTH105 - the atomic swap is what this is about
        for name in contents:
            shown = self.folder / name
            if shown.is_dir():  # a test put a folder in its place
                shown.rmdir()
            if not shown.is_symlink():
                shown.symlink_to(f"..data/{name}")
        return self
