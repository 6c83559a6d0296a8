"""Tests of the layout of `dagster_project`: its modules, their names, and the docstrings of its packages.

Few modules may be outside the rooms. A room must not contain two modules with the same name, and no two names may mean
nearly the same.
"""

from collections import Counter

from dagster_project.home.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "dagster_project"
# Of each group at most one may be the name of a module or package: they differ in form, and hardly in meaning.
NEAR_TWINS = (
    {"publication", "publishing", "published", "publish"},
    {"restate", "restatement", "restated"},
    {"loss", "losses"},
    {"trail", "audit_trail"},
    {"notices", "notifications", "notify"},
    {"space", "disk_space"},
    {"increment", "incremental"},
)


def modules(folder):
    return [p for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py")]


def test_few_modules_stand_beside_the_rooms():
    assert len(modules(PACKAGE)) <= 4


def test_no_name_is_there_twice_in_a_room():
    """No two modules of a room have the same name, and no module has the name of its room.

    A room is a package of `dagster_project` with all its subfolders. Modules inside a folder `sources` are not
    compared, because different sources may have modules with the same name.
    """
    for room in [p for p in PACKAGE.iterdir() if (p / "__init__.py").exists()]:
        names = Counter(
            path.stem
            for path in room.rglob("*.py")
            if path.stem != "__init__" and "sources" not in path.relative_to(room).parts[:-1]
        )
        assert [name for name, count in names.items() if count > 1] == [], room.name
        assert room.name not in names, f"{room.name}/{room.name}.py"


def test_no_two_names_are_near_twins():
    names = {p.stem for p in PACKAGE.rglob("*.py")} | {p.name for p in PACKAGE.rglob("*") if p.is_dir()}
    for twins in NEAR_TWINS:
        assert len(twins & names) <= 1, twins & names


def test_every_room_says_what_belongs_in_it():
    for init in PACKAGE.rglob("__init__.py"):
        assert init.read_text().startswith('"""'), init
