"""Messages of rooms that Python callers use name arguments; the command line prints them as its flags."""

from pathlib import Path

import pytest

from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.hardware import choose_device
from vggnet.options.flags import with_flags
from vggnet.options.localization import LocalizeOptions, LocalizeTrainOptions
from vggnet.options.training import NetsOptions, TrainOptions
from vggnet.paper.recipes import Recipe


def test_an_argument_of_the_command_becomes_its_flag() -> None:
    text = "`learning_rate` 0.0: must be above 0; see `vggnet train`, `data` and `views`"
    expected = "--learning-rate 0.0: must be above 0; see `vggnet train`, DATA and `views`"
    assert with_flags(text, TrainOptions("photos")) == expected
    assert with_flags("`batch` 0", NetsOptions()) == "`batch` 0"  # no option of this command
    assert with_flags("`batch` 0", None) == "`batch` 0"


def test_options_of_a_subcommand_are_found() -> None:
    options = LocalizeOptions(LocalizeTrainOptions("photos", Path("run")))
    assert with_flags("`batch` 0 of `data`; `command`", options) == "--batch 0 of DATA; `command`"


def test_python_reads_the_argument_and_the_command_line_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"^`batch` 0: a batch needs"):
        Recipe(batch=0)
    with pytest.raises(UserError, match=r"^`device` tpu: not a device"):
        choose_device("tpu")
    assert run(["nets", "--crop", "50"]) == 2
    assert "vggnet: --crop 50 is not a multiple of 32" in capsys.readouterr().err
