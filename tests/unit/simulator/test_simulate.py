"""Tests that a simulation with the same seed writes the same bytes, and that it never overwrites a folder."""

import hashlib

import pytest

from dagster_project.simulator.planted import switches
from dagster_project.simulator.simulate import Plan, simulate


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        plan = Plan(40, 18, seed, opened_within=3, deferral_month=2, planted=switches(["all"]), dirt=True)
        simulate(plan, tmp_path / name)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    differing = [path for path, digest in first.items() if digest != other.get(path)]
    assert len(differing) > 0.99 * len(first), "a file of one line may be the same by chance"


def test_a_folder_is_never_written_over(tmp_path):
    simulate(Plan(10, 2, seed=1), tmp_path)
    with pytest.raises(FileExistsError):
        simulate(Plan(10, 2, seed=1), tmp_path)
