"""Tests that the list in `tools/protections.py` is up to date: the listed files, lines and tests exist.

The listed tests are not run here. `make protections` removes each protection and runs its tests.
"""

import ast

import pytest
from protections import PROTECTIONS, ROOT, broken


@pytest.mark.parametrize("protection", PROTECTIONS, ids=lambda p: f"{p.promise}: {p.what}")
def test_lines_are_in_their_file_once_and_it_is_python_without_them(protection):
    assert (ROOT / protection.file).is_file()
    compile(broken(protection), protection.file, "exec")  # or a test would fail for the wrong reason


@pytest.mark.parametrize("test", sorted({test for protection in PROTECTIONS for test in protection.tests}))
def test_tests_exist(test):
    file, _, name = test.partition("::")
    assert (ROOT / file).is_file()
    functions = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert name.partition("[")[0] in functions
