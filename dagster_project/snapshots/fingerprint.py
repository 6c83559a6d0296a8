"""Functions that compute fingerprints (sha256) of the code and of a night's inputs.

Two nights with equal inputs would publish the same snapshot, so the second night is skipped.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

# Files and folders that can change a published number, and a few that cannot. Tests, docs and deployment are left out.
CODE = ("dagster_project", "dbt", "expectations", "ml", "requirements.lock", "requirements-data.lock")
_ENDINGS = {".py", ".sql", ".yml", ".yaml", ".lock"}
_SKIPPED = {"__pycache__", "target", "logs", "yours"}  # `yours`: a user's own assets do not change published numbers


def code_fingerprint(root: Path, policy: Path, contracts: Iterable[Path] = ()) -> str:
    """Return the sha256 of the names and contents of all files that can change a published number.

    These are the files of the code and its lock files (`CODE`), the policy file and the contracts in `contracts`, which
    are those of the user's own sources.
    """
    digest = hashlib.sha256()
    for path in [*sorted(_files(root)), policy, *sorted(contracts)]:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else f"{path.parent.name}/{path.name}"
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(root: Path) -> Iterable[Path]:
    for name in CODE:
        top = root / name
        if top.is_file():
            yield top
        for path in top.rglob("*"):
            if path.suffix in _ENDINGS and path.is_file() and not _SKIPPED & set(path.relative_to(top).parts):
                yield path


def values_fingerprint(values: Mapping[str, object]) -> str:
    """Return the sha256 of a mapping, written as JSON with sorted keys. Equal mappings have equal fingerprints."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def git_revision(root: Path) -> str:
    """Return the hash of the commit that is checked out, followed by `+` if tracked files differ from it.

    Return `none` if `root` is not in a git checkout, or if git is not installed.
    """
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return head + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
