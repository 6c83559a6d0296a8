"""Make `home-v1.tar.xz`, a home of version 1 in which two nights have run.

Run this script with `python tests/homes/make_home_v1.py`. The nights run with the code of COMMIT, the last commit that
wrote homes of version 1.

A simulated book of 300 loans arrives in three parts. The first night uses the files up to FIRST_NIGHT, and the second
uses the files up to SECOND_NIGHT. The files of the last month stay in the landing folder. Everything that a night
rebuilds is removed before the home is packed.

The encrypted originals and the times of publication differ from one run of this script to the next. The figures do not.
"""

import argparse
import datetime as dt
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMMIT = "4d1bd7d"
ARCHIVE = HERE / "home-v1.tar.xz"
SOURCE = "simulated"
FIRST_NIGHT, SECOND_NIGHT, LAST_DAY = dt.date(2019, 12, 3), dt.date(2020, 1, 3), dt.date(2020, 1, 31)
LOANS, MONTHS, SEED, OBSERVATIONS_PER_YEAR = 300, 25, 1, 6
# What a night makes again, what no night reads, and the shop window of the models: the ledger says which one scores.
REBUILT = ("warehouse", "dbt", "dagster", "logs", "mlflow/mlflow.db", "mlflow/artifacts", "truth")
LOCKS = ("night.lock", "instance.lock", "lake/audit.lock")


def main() -> None:
    """Make the home in a temporary folder, and pack it into the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ARCHIVE, help="the archive")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="creditloom-home-v1-") as name:
        work = Path(name)
        code = work / "code"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(code), COMMIT], check=True)
        try:
            make(code, work)
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(code)], check=True)
        pack(work, given.out)


def make(code: Path, work: Path) -> None:
    """Run two nights in `work/home` with the code in `code`, and remove what a night rebuilds.

    The keys are in `work/home-keys`. Exits with a message if no model was trained.
    """
    home = work / "home"
    policy = yaml.safe_load((code / "policy/default.yaml").read_text())
    policy["sources"] = {SOURCE: policy["sources"][SOURCE] | {"snapshots_a_year": OBSERVATIONS_PER_YEAR}}
    # 300 loans are judged so loosely that the gate's lower bound would not be met by chance.
    policy["bootstrap_gate"] |= {"slope_min": 0.3, "slope_max": 3.0, "auc_lower_bound": 0.5}
    (work / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))

    def creditloom(*arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDITLOOM_")}
        own = {"PYTHONPATH": str(code), "CREDITLOOM_HOME": str(home), "CREDITLOOM_POLICY": str(work / "policy.yaml")}
        start = "from dagster_project.cli import app; app()"
        subprocess.run([sys.executable, "-c", start, *arguments], env=kept | own, cwd=code, check=True)

    book = ["--loans", str(LOANS), "--months", str(MONTHS), "--seed", str(SEED), "--opened-within", "3"]
    creditloom("simulate", *book, "--out", str(home))
    in_three_parts(home / "landing" / SOURCE)
    spoil(home / "landing" / SOURCE / f"payments-{FIRST_NIGHT}.csv")
    creditloom("night", "--on", FIRST_NIGHT.isoformat())
    creditloom("night", "--on", SECOND_NIGHT.isoformat())
    if not any((home / "mlflow" / "models").iterdir()):
        raise SystemExit("no model was trained: take more loans, or another seed")
    for name in REBUILT:
        path = home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name in LOCKS:
        (home / name).unlink(missing_ok=True)


def in_three_parts(landing: Path) -> None:
    """Merge the daily files of each table into one file for each night, and one that stays in the landing folder.

    Having few files keeps the archive small, because each file in the lake takes 3 KB.
    """
    for table in sorted({path.name.split("-", 1)[0] for path in landing.iterdir()}):
        parts: dict[dt.date, list[Path]] = {day: [] for day in (FIRST_NIGHT, SECOND_NIGHT, LAST_DAY)}
        for file in sorted(landing.glob(f"{table}-*.csv")):
            day = dt.date.fromisoformat(file.stem.split("-", 1)[1])
            parts[next(until for until in parts if day <= until)].append(file)
        for until, files in parts.items():
            if files:
                lines = [file.read_text().splitlines(keepends=True) for file in files]
                for file in files:
                    file.unlink()
                joined = lines[0][0] + "".join(line for _header, *rows in lines for line in rows)
                (landing / f"{table}-{until}.csv").write_text(joined)


def spoil(payments: Path) -> None:
    """Replace one amount in a payment file with a word, so that one row is quarantined."""
    header, first, *rest = payments.read_text().splitlines(keepends=True)
    fields = first.split(",")
    fields[header.rstrip("\n").split(",").index("amount")] = "unknown"
    payments.write_text("".join([header, ",".join(fields), *rest]))


def pack(work: Path, archive: Path) -> None:
    """Pack the home and its keys into the archive.

    The keys are wrapped with the public development key, so they protect nothing.
    """
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for name in ("home", "home-keys"):
            tar.add(work / name, name, filter=_nobodys)
    sys.stdout.write(f"{archive.name}: {archive.stat().st_size / 1e6:.2f} MB\n")


def _nobodys(item: tarfile.TarInfo) -> tarfile.TarInfo:
    item.uid = item.gid = 0
    item.uname = item.gname = ""
    return item


if __name__ == "__main__":
    main()
