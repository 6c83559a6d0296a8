"""Tests of `run.py`, the program that runs the benchmarks. No test asserts a duration."""

import sys

import run


def test_the_last_day_is_held_back(tmp_path):
    names = [
        "client_money-2020-01-31.csv",
        "loans-2020-01-31.csv",
        "client_money-2020-02-01.csv",
        "payments-2020-02-01.csv",
    ]
    for name in names:
        (tmp_path / name).write_text("")
    first, last = run.split(tmp_path)
    assert [f.name for f in first] == names[:2] and [f.name for f in last] == names[2:]


def test_a_process_is_measured_with_its_children(tmp_path):
    # The child holds its memory for a second, because it is looked at ten times a second from outside.
    child = "b = bytearray(200_000_000); import time; time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('{{\"a\": 1}}')"
    measured = run.measure([sys.executable, "-c", code], {}, tmp_path / "log")
    assert measured.exit == 0 and measured.reported == {"a": 1}
    assert measured.peak_mb > 200


def test_policy_of_the_benchmark_names_the_simulated_source_alone(tmp_path):
    from dagster_project.policy import load_policy

    assert list(load_policy(run.write_policy(tmp_path / "policy.yaml")).sources) == ["simulated"]
