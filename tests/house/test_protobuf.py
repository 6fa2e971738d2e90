"""The generated protobuf modules are up to date with their sources."""

import os
import subprocess
import sys
from pathlib import Path

from tests.tree import ROOT, repository_files

GENERATED = ("_pb2.py", "_pb2.pyi")


def test_generated_modules_equal_their_sources(tmp_path: Path) -> None:
    subprocess.run(
        [ROOT / "scripts" / "generate_protobuf.sh", tmp_path],
        env={**os.environ, "PYTHON": sys.executable},
        check=True,
        timeout=120,
    )

    fresh = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*_pb2.py*")}
    committed = {
        path.relative_to(ROOT / "shared"): path.read_bytes()
        for path in repository_files()
        if path.name.endswith(GENERATED)
    }
    assert len(fresh) > 0
    assert fresh == committed
