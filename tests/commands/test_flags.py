"""Messages of rooms that Python callers use name arguments; the command line prints them as its flags."""

import ast
import re
from pathlib import Path

import pytest

import vggnet
from vggnet.cli import run
from vggnet.console import say, spelled, warn
from vggnet.errors import UserError
from vggnet.hardware import choose_device
from vggnet.options.flags import with_flags
from vggnet.options.localization import LocalizeOptions, LocalizeTrainOptions
from vggnet.options.training import NetsOptions, TrainOptions
from vggnet.paper.recipes import Recipe

SOURCE = Path(vggnet.__file__).parent


def test_an_argument_of_the_command_becomes_its_flag() -> None:
    text = "`learning_rate` 0.0: must be above 0; see `vggnet train`, `data` and `views`"
    expected = "--learning-rate 0.0: must be above 0; see `vggnet train`, DATA and `views`"
    assert with_flags(text, TrainOptions("photos")) == expected
    assert with_flags("`batch` 0", NetsOptions()) == "`batch` 0"  # no option of this command
    assert with_flags("`batch` 0", NetsOptions(), [TrainOptions]) == "--batch 0"  # of another one
    assert with_flags("`batch` 0", None) == "`batch` 0"


def test_options_of_a_subcommand_are_found() -> None:
    options = LocalizeOptions(LocalizeTrainOptions("photos", Path("run")))
    assert with_flags("`batch` 0 of `data`; `command`", options) == "--batch 0 of DATA; `command`"


def test_printed_lines_name_arguments_too_and_only_while_the_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with spelled(lambda text: with_flags(text, TrainOptions("photos"))):
        say("begin with `init_from`")
        warn("`batch` 1 is small")
    say("begin with `init_from`")
    written = capsys.readouterr()
    assert written.out == "begin with --init-from\nbegin with `init_from`\n"
    assert written.err == "--batch 1 is small\n"


def flags_in(source: str) -> list[str]:
    """The texts in a module, docstrings and whole commands aside, that name a flag of the command line."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    texts, parts = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            texts.append(
                "".join(str(value.value) if isinstance(value, ast.Constant) else "..." for value in node.values)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            texts.append(node.value)
    without_commands = [re.sub(r"`(vggnet|convmv) [^`]*`|^ *vggnet .*", "", text) for text in texts]
    return [text for text in without_commands if re.search(r"(?<![\w-])--[a-z]", text)]


def test_no_message_below_the_command_line_names_a_flag() -> None:
    assert flags_in('"""--a"""\nx = f"give --batch {1}" + "`vggnet train --net D`"') == ["give --batch ..."]
    spelling = ("options/", "cli.py", "api/arguments.py")
    found = {
        str(path.relative_to(SOURCE)): flags
        for path in SOURCE.rglob("*.py")
        if not str(path.relative_to(SOURCE)).startswith(spelling)
        and (flags := flags_in(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_python_reads_the_argument_and_the_command_line_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"^`batch` 0: a batch needs"):
        Recipe(batch=0)
    with pytest.raises(UserError, match=r"^`device` tpu: not a device"):
        choose_device("tpu")
    assert run(["nets", "--crop", "50"]) == 2
    assert "vggnet: --crop 50 is not a multiple of 32" in capsys.readouterr().err


def test_a_misspelt_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trian", "photos"]) == 2
    assert capsys.readouterr().err == "vggnet: there is no command 'trian'; did you mean train?\n"
    assert run(["xyz"]) == 2
    assert "the commands are quickstart, train, ladder" in capsys.readouterr().err
