"""An authority of a test's own, and certificates that it signed, as files."""

from pathlib import Path

import trustme


class Authority:
    """Signs certificates for this test alone."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.certificate = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.certificate))

    def issue(self, name: str, *identities: str) -> tuple[Path, Path]:
        """The files of a certificate for these host names and addresses, and of its key."""
        issued = self._authority.issue_cert(*identities)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key
