"""CONTRIBUTING's table of rooms is the linter's list, and names every module and package that exists."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def written() -> list[set[str]]:
    """The rooms of each floor in CONTRIBUTING's table, from the top."""
    rows = re.findall(r"^\| (\d+) \| `([\w/]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
    floors: dict[int, set[str]] = {}
    for floor, room in rows:
        floors.setdefault(int(floor), set()).add(room.rstrip("/"))
    return [floors[floor] for floor in sorted(floors, reverse=True)]


def checked() -> list[set[str]]:
    """The rooms of each floor that `lint-imports` checks, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return [{room.strip().removeprefix("vggnet.") for room in layer.split("|")} for layer in contract["layers"]]


def test_the_table_of_rooms_is_what_the_linter_checks() -> None:
    assert written() == checked()


def test_every_room_is_in_the_table() -> None:
    source = ROOT / "src" / "vggnet"
    rooms = {path.stem for path in source.glob("*.py")} | {path.parent.name for path in source.glob("*/__init__.py")}
    assert rooms - {"__init__"} == set().union(*written())


def test_the_modules_that_the_page_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    assert named
    assert [name for name in named if not (ROOT / "src" / "vggnet" / name).exists()] == []
