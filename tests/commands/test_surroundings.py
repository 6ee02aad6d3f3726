"""Commands work in terminals, languages and accounts of all kinds."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from forked import Forked, run_command
from nets import save_random_net
from PIL import Image

from vggnet.errors import UserError
from vggnet.files import default_cache

VGGNET = [sys.executable, "-m", "vggnet"]
COLOR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")


def on_a_terminal(arguments: list[str], columns: int = 100, **variables: str) -> str:
    """What a command writes to a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color"} | variables
    with subprocess.Popen([*VGGNET, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            written += part
    os.close(master)
    assert process.returncode in (0, 2)
    return written.decode()


@pytest.mark.parametrize("arguments", [["nets", "--help"], ["nets", "--no-such-option"], ["nets"]])
def test_no_color_is_obeyed(arguments: list[str]) -> None:
    assert COLOR.findall(on_a_terminal(arguments, NO_COLOR="1")) == []


def test_help_has_colours_elsewhere() -> None:
    assert COLOR.findall(on_a_terminal(["nets", "--help"])) != []


def test_a_narrow_terminal_loses_no_figure() -> None:
    table = on_a_terminal(["nets"], columns=50, NO_COLOR="1")
    assert "…" not in table
    cells = [re.sub(r"\x1b\[[0-9;]*m", "", line).split("│") for line in table.splitlines() if "│" in line]
    parameters = "".join(row[4].strip() for row in cells)  # in the order of the nets, folded
    assert parameters.startswith("132,863,336")


@pytest.mark.parametrize("language", ["C", "POSIX"])
def test_a_language_without_umlauts_gets_plain_characters(language: str) -> None:
    environment = os.environ | {"LC_ALL": language, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([*VGGNET, "nets"], env=environment, capture_output=True, check=True)
    assert b"132,863,336" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("home", [None, "/proc"])
def test_a_model_predicts_without_a_home_and_with_one_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    save_random_net(tmp_path / "net.safetensors", ["cat", "dog"])
    Image.new("RGB", (40, 40)).save(tmp_path / "black.png")
    for name in ("HOME", "VGGNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    process = Forked(predict_afresh, str(tmp_path / "net.safetensors"), str(tmp_path / "black.png"))
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "cat" in said


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/proc"])
def test_imports_need_no_home(tmp_path: Path, home: str | None) -> None:
    save_random_net(tmp_path / "net.safetensors", ["cat", "dog"])
    Image.new("RGB", (40, 40)).save(tmp_path / "black.png")
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "VGGNET_CACHE")}
    environment |= {"HOME": home} if home else {}
    command = [*VGGNET, "predict", str(tmp_path / "net.safetensors"), str(tmp_path / "black.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout


def predict_afresh(model: str, image: str) -> None:
    """Predict where no variable but the caller's names a home."""
    assert "VGGNET_CACHE" not in os.environ
    run_command(["predict", model, image])


def test_an_account_without_a_home_is_told_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("VGGNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match=r"no home folder .* in \$VGGNET_CACHE"):
        default_cache()


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(given: dict[str, str], found: str) -> None:
    """OpenMP reads it when PyTorch is imported."""
    program = (
        "import os, sys, vggnet.cli as cli\n"
        "assert 'torch' not in sys.modules\n"
        "cli.run = lambda arguments: print(os.environ.get('GOMP_SPINCOUNT')) or 0\n"
        "cli.main([])"
    )
    environment = {name: value for name, value in os.environ.items() if "OMP_" not in name} | given
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == found
