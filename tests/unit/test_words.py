"""Tests that the project does not use identifiers that it has replaced with the usual terms of the field.

`REPLACED` maps each old identifier to the new one, or to a hint at it. The tests compare whole identifiers in Python,
SQL and YAML files. Prose, comments and values are not checked, so the old words may still be used there as ordinary
English.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dagster_project.home.settings import PROJECT_ROOT

Found = tuple[int, str]

REPLACED = {
    "sifting": "classify",
    "Sifted": "ClassifiedRows",
    "known": "row_index, or when or to whom it is known",
    "Known": "KnownRows",
    "Met": "KeyMatches",
    "border": "ingest_context",
    "Border": "IngestContext",
    "alone": "locks",
    "bury_dead_runs": "fail_orphaned_runs",
    "space": "disk_space",
    "trail": "audit_entries or commit",
    "explain": "run_failures",
    "readiness": "skip_reasons",
    "increment": "incremental_build",
    "news": "changed_files",
    "forget": "delete_for_rebuild",
    "portions": "batches",
    "plain": "on_time",
    "short_way": "fast_path",
    "signs": "default_triggers",
    "told": "reported or recorded",
    "Told": "PersonalValues",
    "mapped": "contract_adapter",
    "monthly": "implied_payments",
    "notices": "notifications",
    "tilts": "risk_shifts",
    "leaks": "leakage_traps",
    "table_facts": "table_metadata",
    "snapshots_a_year": "observations_per_year",
}
PREFIXES = {"told_": "reported_", "news_": "changed_", "forget_": "delete_"}
SUFFIXES = {"_work": "_to_rebuild"}
# A score has reasons that may be explained; a run of Dagster has failures.
ONLY_IN = {"explain": "dagster_project/"}

# What is not code of a SQL file: comments of SQL and Jinja, and strings (Jinja's own are read separately).
_NOT_SQL = re.compile(r"\{#.*?#\}|/\*.*?\*/|--[^\n]*|'(?:[^']|'')*'", re.DOTALL)
_JINJA = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_JINJA_STRING = re.compile(r"""(["'])(\w+)\1""")
_WORD = re.compile(r"[A-Za-z_]\w*")


def test_no_python_name_is_a_replaced_word():
    _assert_none(".py", _python_names)


def test_no_sql_name_is_a_replaced_word():
    _assert_none(".sql", _sql_names)


def test_no_yaml_key_or_dbt_name_is_a_replaced_word():
    _assert_none((".yaml", ".yml"), _yaml_names)


def _assert_none(endings: str | tuple[str, ...], names_in) -> None:
    faults = []
    for name in _tracked():
        if name.endswith(endings):
            found = sorted(set(names_in((PROJECT_ROOT / name).read_text())))
            faults += [f"{name}:{n}: {word} -> {new}" for n, word in found if (new := _replacement(name, word))]
    assert not faults, "\n" + "\n".join(faults)


def _tracked() -> list[str]:
    if not (PROJECT_ROOT / ".git").exists():
        pytest.skip("not a checkout: which files are the project's is not known")
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT_ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.splitlines() if (PROJECT_ROOT / name).is_file()]


def _replacement(file: str, word: str) -> str | None:
    """Return the term to use instead of an identifier, or None if the file may use the identifier."""
    if not Path(file).as_posix().startswith(ONLY_IN.get(word, "")):
        return None
    parts = [new for old, new in PREFIXES.items() if word.startswith(old)]
    parts += [new for old, new in SUFFIXES.items() if word.endswith(old)]
    return REPLACED.get(word) or next(iter(parts), None)


def _python_names(text: str) -> Iterator[Found]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string
    # Before Python 3.12 an f-string is one token; its expressions are in the syntax tree alone.
    for string in ast.walk(ast.parse(text)):
        if isinstance(string, ast.JoinedStr):
            for node in ast.walk(string):
                names = (getattr(node, field, None) for field in ("id", "attr", "arg"))
                yield from ((getattr(node, "lineno", string.lineno), n) for n in names if isinstance(n, str))


def _sql_names(text: str) -> Iterator[Found]:
    """Yield (line number, name) for each word of a SQL file outside comments and strings.

    Names that Jinja receives as strings are also included, for example the model in `ref('model')`.
    """
    blank = lambda match: re.sub(r"[^\n]", " ", match[0])
    code = _NOT_SQL.sub(blank, text)
    jinja = re.sub(r"\{#.*?#\}", blank, text, flags=re.DOTALL)
    for match in _WORD.finditer(code):
        yield code.count("\n", 0, match.start()) + 1, match[0]
    for block in _JINJA.finditer(jinja):
        for match in _JINJA_STRING.finditer(block[0]):
            yield jinja.count("\n", 0, block.start() + match.start()) + 1, match[2]


def _yaml_names(text: str) -> Iterator[Found]:
    """Yield (line number, name) for each key of a YAML file, and for each value of the key `name`.

    The values of `name` are included because they are identifiers in dbt's files and in contracts.
    """
    nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                nodes.append(value)
                yield key.start_mark.line + 1, str(key.value)
                if key.value == "name" and isinstance(value, yaml.ScalarNode):
                    yield value.start_mark.line + 1, value.value


@pytest.mark.parametrize(
    ("names_in", "content"),
    [
        (_python_names, "one = 1\ntold = f'{row.known} {x}'\n# known, plain\nname = 'signs'\n"),
        (_sql_names, "select 1 -- told\n, told.x, 'signs' from {{ ref('known') }} {# plain #}\n"),
        (_yaml_names, "one: told\ntold: {name: known}\nvalue: signs # plain\n"),
    ],
)
def test_names_are_found_and_prose_is_not(names_in, content):
    found = {(line, name) for line, name in names_in(content) if _replacement("x", name)}
    assert found == {(2, "told"), (2, "known")}
