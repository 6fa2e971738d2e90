"""Make CycloneDX documents reproducible, judge them by their schema, and write them: `sbom_documents.py OUT FILE...`.

npm writes the time and a random number into its document; both go. A document that does not fit its schema ends the
program with what is wrong. Runs in the environment of scripts/chain_tools.sh.
"""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def reproducible(document):
    """Take out what differs from one run to the next."""
    document.pop("serialNumber", None)
    document["metadata"].pop("timestamp", None)
    return document


def complaint(text, version):
    """Return what is wrong with a document of this version of CycloneDX, or None."""
    error = JsonStrictValidator(SchemaVersion.from_version(version)).validate_str(text)
    return None if error is None else str(error.data)[:500]


def main(out, files):
    """Write every document into ``out`` under its own name."""
    for file in files:
        document = reproducible(json.loads(file.read_text(encoding="utf-8")))
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        wrong = complaint(text, document["specVersion"])
        if wrong is not None:
            sys.exit(f"{file.name} is no CycloneDX {document['specVersion']}: {wrong}")
        (out / f"{file.stem}.cdx.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
