"""Tests of the fingerprint of code, policy and contracts, and of the git revision."""

from dagster_project.snapshots.fingerprint import code_fingerprint, git_revision


def test_fingerprint_sees_code_and_policy(tmp_path):
    (tmp_path / "ml").mkdir()
    code, policy = tmp_path / "ml" / "a.py", tmp_path / "p.yaml"
    code.write_text("x = 1")
    policy.write_text("version: 1")
    first = code_fingerprint(tmp_path, policy)
    (tmp_path / "ml" / "__pycache__").mkdir()
    (tmp_path / "ml" / "__pycache__" / "b.py").write_text("y")
    (tmp_path / "README.md").write_text("words")
    assert code_fingerprint(tmp_path, policy) == first
    code.write_text("x = 2")
    second = code_fingerprint(tmp_path, policy)
    policy.write_text("version: 2")
    third = code_fingerprint(tmp_path, policy)
    own = tmp_path / "contracts" / "bank" / "contract.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("version: 1.0.0")
    fourth = code_fingerprint(tmp_path, policy, [own])
    own.write_text("version: 1.1.0")
    assert len({first, second, third, fourth, code_fingerprint(tmp_path, policy, [own])}) == 5


def test_no_checkout_has_no_revision(tmp_path):
    assert git_revision(tmp_path) == "none"
