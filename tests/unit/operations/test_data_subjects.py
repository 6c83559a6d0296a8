"""Tests of the commands that erase or reveal a person and rotate keys, and of the audit rows that they write."""

import io
import json
import re

import polars as pl
import pytest
from typer.testing import CliRunner

from dagster_project import cli
from dagster_project.audit.chain import Kind
from dagster_project.cli import shared
from dagster_project.home.locks import home_lock
from dagster_project.keys.master import load_keys
from dagster_project.night import audit_entries
from support.persons import csv_of, deliver, lender_in, person

OLD = [person(n) for n in range(3)]


@pytest.fixture
def lender(tmp_path, monkeypatch):
    key = tmp_path / "master.key"
    key.write_text("11" * 32)
    monkeypatch.setenv("CREDITLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CREDITLOOM_POLICY", str(tmp_path / "home/policy.yaml"))
    monkeypatch.setenv("CREDITLOOM_MASTER_KEY_FILE", str(key))
    monkeypatch.setenv("CREDITLOOM_PROFILE", "production")
    lender = lender_in(tmp_path / "home", master_key_file=key)
    deliver(lender, {"people-1.csv": csv_of("people", *OLD)})
    return lender


def run(monkeypatch, *command):
    """Run a command, and return its exit code and its output on both standard output and standard error."""
    said = io.StringIO()
    for console in (shared.out, shared.err):
        monkeypatch.setattr(console, "file", said)
        monkeypatch.setattr(console, "width", 200)
    result = CliRunner().invoke(cli.app, command)
    return result.exit_code, said.getvalue() + result.output


def test_erase_says_what_it_did(lender, monkeypatch):
    code, said = run(monkeypatch, "erase", "C100001")
    assert code == 0, said
    assert re.search(r"found\s+nothing", said)
    assert re.search(r"originals\s+1 rewritten; 1 records no longer identify the person", said)
    assert "Quandt" not in said
    code, said = run(monkeypatch, "reveal", "C100001", "--reason", "a letter")
    assert (code, "was erased" in said, "Quandt" in said) == (1, True, False), said
    code, said = run(monkeypatch, "erase", "C100001", "--json")
    again = json.loads(said)
    assert (code, again["proof"]["left"], again["rewritten"]) == (0, [], 0)
    assert again["erased_before"]


def test_erasure_and_looks_into_the_vault_are_rows_of_the_audit_chain(lender, monkeypatch):
    assert run(monkeypatch, "hold", "C100002", "--until", "2999-01-01", "--reason", "case 17")[0] == 0
    for command in (("reveal", "C100001", "--reason", "a letter"), ("erase", "C100001"), ("erase", "C100002")):
        run(monkeypatch, *command)
    audit = lender.ingest_context.audit
    reads, erasures = audit.rows(Kind.VAULT_READ), audit.rows(Kind.ERASURE)
    # Two rows a command: one for each domain in which the borrower has a pseudonym.
    assert [r.parsed_facts()["why"] for r in reads] == ["hold"] * 2 + ["reveal"] * 2 + ["erase"] * 4
    assert [r.parsed_facts()["held_until"] for r in erasures] == [None, None, "2999-01-01", "2999-01-01"]
    assert [r.parsed_facts()["reason"] for r in reads] == [None] * 2 + ["a letter"] * 2 + [None] * 4
    assert [(r.parsed_facts()["records"], r.parsed_facts()["left"]) for r in erasures] == [(1, 0)] * 2 + [(0, None)] * 2
    assert {r.subject for r in reads} == {r.subject for r in erasures}
    assert audit.faults() == []
    assert not any(words in str(audit.rows()) for words in ("C10000", "Quandt"))
    audit.path.unlink()
    lender.settings.audit_head_file.unlink()
    audit_entries.write_missing_rows(lender)
    late = {(r.subject, r.late) for r in audit.rows(Kind.ERASURE)}
    assert late == {(r.subject, True) for r in erasures[:2]}


def test_reveal_shows_what_was_delivered(lender, monkeypatch):
    name = lender.ingest_context.keys.pseudonyms(pl.Series(["C100002"]), "lender.borrower_id")["pseudonym"].item()
    code, said = run(monkeypatch, "reveal", name, "--reason", "a letter")
    assert code == 0
    assert "name: Ilse Quandt-00002" in said
    assert "Quandt-00001" not in said


def test_a_hold_wins_over_the_command(lender, monkeypatch):
    assert run(monkeypatch, "hold", "C100001", "--until", "2999-01-01", "--reason", "case 17")[0] == 0
    code, said = run(monkeypatch, "erase", "C100001")
    assert code == 3
    assert "held until 2999-01-01: case 17" in said
    assert run(monkeypatch, "reveal", "C100001", "--reason", "a letter")[0] == 0


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (("erase", "C999999"), 2, "no delivery of lender has this borrower"),
        (("erase", "C100001", "--source", "nowhere"), 2, "there is no source 'nowhere'"),
        (("rotate-keys", "{home}/policy.yaml"), 2, "not hexadecimal"),
    ],
)
def test_wrong_usage_is_reported(lender, monkeypatch, command, code, says):
    found, said = run(monkeypatch, *(part.format(home=lender.settings.home) for part in command))
    assert (found, says in said) == (code, True), said


def test_nothing_is_erased_while_a_night_runs_or_files_wait(lender, monkeypatch):
    with home_lock(lender.settings.home):
        code, said = run(monkeypatch, "erase", "C100001")
    assert (code, "another night is running" in said) == (1, True)
    (lender.ingest_context.landing / "lender/people-2.csv").write_bytes(csv_of("people", person(4)))
    code, said = run(monkeypatch, "erase", "C100001")
    assert (code, "run `creditloom night` first" in said) == (1, True)
    assert run(monkeypatch, "reveal", "C100001", "--reason", "a letter")[0] == 0


def test_keys_are_rotated_and_the_old_one_is_refused(lender, monkeypatch, tmp_path):
    (tmp_path / "new.key").write_text("22" * 32)
    code, said = run(monkeypatch, "rotate-keys", str(tmp_path / "new.key"))
    assert (code, "4 data keys" in said) == (0, True), said
    code, said = run(monkeypatch, "status")
    assert (code, "another master key" in said) == (2, True)
    monkeypatch.setenv("CREDITLOOM_MASTER_KEY_FILE", str(tmp_path / "new.key"))
    assert "Quandt-00001" in run(monkeypatch, "reveal", "C100001", "--reason", "a letter")[1]


def test_production_refuses_a_lake_whose_root_is_public(tmp_path, monkeypatch):
    """Keys count as development keys if the lake's root key is public, even if the master key is secret."""
    public = load_keys(None, None, production=False)
    ours = load_keys("11" * 32, None, production=True)
    assert not ours.is_development
    assert ours.rooted(public.root).is_development
