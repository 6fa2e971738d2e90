"""Limits of control groups: both versions, nested groups, and missing files."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from goverse.limits import MIB
from goverse.telemetry.control_group import ControlGroup
from goverse.telemetry.resources import Allowance, Resources

NO_LIMIT_V1 = "9223372036854771712"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    (tmp_path / "mounted").mkdir()
    return tmp_path / "mounted"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:       16384000 kB\n")
    (tmp_path / "proc" / "self" / "statm").write_text("40000 4096 0 0 0 0 0\n")
    return tmp_path / "proc"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.mark.requirement("OPS-7")
def test_a_container_reads_its_limits_from_its_visible_root(mounted: Path, proc: Path) -> None:
    write(mounted, cpu__max="150000 100000", memory__max=str(256 * MIB), memory__current=str(64 * MIB))
    (proc / "self" / "cgroup").write_text("0::/kubepods.slice/not-to-be-seen-here\n")
    group = ControlGroup(mounted, proc)
    assert (group.processors(), group.memory_limit_bytes(), group.memory_share()) == (1.5, 256 * MIB, 0.25)
    assert Allowance.read(mounted, proc).memory_bytes == 256 * MIB
    assert Allowance.read(mounted, proc).memory_bounded


@pytest.mark.requirement("OPS-7")
def test_version_1_has_a_folder_for_each_controller(mounted: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("9:memory:/own\n4:cpu,cpuacct:/own\n0::/\n")
    write(mounted / "memory", memory__limit_in_bytes=NO_LIMIT_V1)
    write(mounted / "memory" / "own", memory__limit_in_bytes=str(64 * MIB), memory__usage_in_bytes=str(16 * MIB))
    write(mounted / "cpu" / "own", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    group = ControlGroup(mounted, proc)
    assert (group.processors(), group.memory_limit_bytes(), group.memory_share()) == (0.5, 64 * MIB, 0.25)


@pytest.mark.requirement("OPS-7")
def test_used_memory_excludes_what_the_kernel_can_reclaim(mounted: Path, proc: Path) -> None:
    stat = (
        f"anon {300 * MIB}\nshmem {500 * MIB}\nsock {90 * MIB}\nslab_reclaimable {10 * MIB}\nfile {620 * MIB}\n"
        f"inactive_file {70 * MIB}\nactive_file {50 * MIB}\nfile_dirty {15 * MIB}\nfile_writeback {5 * MIB}\n"
        f"unevictable nonsense\nanon\n"
    )
    write(mounted, memory__max=str(1000 * MIB), memory__current=str(1010 * MIB), memory__stat=stat)
    assert ControlGroup(mounted, proc).memory_share() == pytest.approx(0.9)
    assert Resources(mounted, proc).memory() == pytest.approx(0.9)


@pytest.mark.requirement("OPS-7")
def test_version_1_includes_inner_groups_and_shared_memory(mounted: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("9:memory:/own\n")
    stat = (
        f"rss {1 * MIB}\ncache {1 * MIB}\ninactive_file {99 * MIB}\ntotal_rss {300 * MIB}\ntotal_shmem {500 * MIB}\n"
        f"total_inactive_file {70 * MIB}\ntotal_active_file {50 * MIB}\ntotal_dirty {15 * MIB}\n"
        f"total_writeback {5 * MIB}"
    )
    write(
        mounted / "memory" / "own",
        memory__limit_in_bytes=str(1000 * MIB),
        memory__usage_in_bytes=str(900 * MIB),
        memory__stat=stat,
    )
    assert ControlGroup(mounted, proc).memory_share() == pytest.approx(0.8)


@pytest.mark.requirement("OPS-7")
def test_the_group_nearest_to_its_limit_counts_with_everything_in_it(mounted: Path, proc: Path) -> None:
    """The container is below its limit, but another container has used up the limit of the Pod."""
    (proc / "self" / "cgroup").write_text("0::/pod/own\n")
    write(mounted / "pod", memory__max=str(1000 * MIB), memory__current=str(950 * MIB))
    write(mounted / "pod" / "own", memory__max=str(800 * MIB), memory__current=str(200 * MIB))
    assert ControlGroup(mounted, proc).memory_limit_bytes() == 800 * MIB
    assert Resources(mounted, proc).memory() == pytest.approx(0.95)
    write(mounted / "pod" / "own", memory__current=str(790 * MIB))
    assert Resources(mounted, proc).memory() == pytest.approx(790 / 800)


@pytest.mark.requirement("OPS-7")
def test_the_smallest_limit_of_all_enclosing_groups_applies(mounted: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/slice/service\n")
    write(mounted / "slice", cpu__max="100000 100000", memory__max=str(128 * MIB))
    write(mounted / "slice" / "service", cpu__max="400000 100000", memory__max="max")
    group = ControlGroup(mounted, proc)
    assert (group.processors(), group.memory_limit_bytes()) == (1.0, 128 * MIB)


@pytest.mark.parametrize(
    ("quota", "memory"),
    [
        ("max 100000", "max"),
        ("", ""),
        ("-1 100000", "-1"),
        ("nonsense", "nonsense"),
        ("100000 0", NO_LIMIT_V1),
        ("0 100000", "0"),
        ("9" * 5_000 + " 100000", "9" * 5_000),
        ("100000 " + "9" * 5_000, "9" * 400),
    ],
)
def test_values_that_are_no_limit_set_no_limit(mounted: Path, proc: Path, quota: str, memory: str) -> None:
    (proc / "self" / "cgroup").write_text("garbage\n0::/../../etc\n")
    write(mounted, cpu__max=quota, memory__max=memory)
    group = ControlGroup(mounted, proc)
    assert (group.processors(), group.memory_limit_bytes(), group.memory_share()) == (inf, inf, 0)
    assert 0 < Resources(mounted, proc).memory() < 0.01, "the machine's memory is the bound"
    allowed = Allowance.read(mounted, proc)
    assert (allowed.memory_bytes, allowed.memory_bounded) == (16384000 * 1024, False)


@pytest.mark.requirement("OPS-7")
def test_a_fraction_of_a_processor_counts_as_one_and_never_exceeds_the_machine(mounted: Path, proc: Path) -> None:
    write(mounted, cpu__max="10000 100000")
    assert Allowance.read(mounted, proc).processors == 1
    write(mounted, cpu__max="100000000 100000")
    free = Allowance.read(mounted, proc).processors
    write(mounted, cpu__max="max")
    assert Allowance.read(mounted, proc).processors == free


def test_used_memory_is_that_of_the_group_if_the_group_has_the_limit(mounted: Path, proc: Path) -> None:
    write(mounted, memory__max=str(64 * MIB), memory__current=str(48 * MIB))
    assert Resources(mounted, proc).memory() == pytest.approx(0.75)
    write(mounted, memory__max="max")
    assert Resources(mounted, proc).memory() == pytest.approx(4096 * 4096 / (16384000 * 1024), rel=0.5)


def test_unreadable_files_set_no_limit(tmp_path: Path) -> None:
    allowed = Allowance.read(tmp_path / "none", tmp_path / "none")
    assert (allowed.memory_bytes, allowed.memory_bounded) == (0, False)
    assert allowed.processors >= 1
