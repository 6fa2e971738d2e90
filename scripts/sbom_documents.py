"""Make CycloneDX documents reproducible, validate them, and write them to a folder: `sbom_documents.py OUT FILE...`.

npm puts a timestamp and a random serial number into its document; both are removed. The program exits with an error if
a document does not match its schema. Runs in the environment of scripts/chain_tools.sh.
"""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def reproducible(document):
    """Remove the fields that differ from run to run."""
    document.pop("serialNumber", None)
    document["metadata"].pop("timestamp", None)
    return document


def complaint(text, version):
    """Return the schema violation of a document, or None if it is valid CycloneDX ``version``."""
    error = JsonStrictValidator(SchemaVersion.from_version(version)).validate_str(text)
    return None if error is None else str(error.data)[:500]


def main(out, files):
    """Write every document into ``out`` under its own name."""
    for file in files:
        document = reproducible(json.loads(file.read_text(encoding="utf-8")))
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        wrong = complaint(text, document["specVersion"])
        if wrong is not None:
            sys.exit(f"{file.name} is not valid CycloneDX {document['specVersion']}: {wrong}")
        (out / f"{file.stem}.cdx.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
