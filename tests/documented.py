"""The commands in README and docs, and how they run in seconds: small nets, few epochs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from vggnet.cli import run

ROOT = Path(__file__).parents[1]
# a command whose comment holds one of these is not run by a test
MARKS = ("needs a GPU", "needs a download", "needs a server", "needs a net of crop 224", "takes hours", "takes minutes")
# appended, so that what is written is run as it stands but in seconds
SMALLER = {
    "train": "--crop 32 --width 0.05 --epochs 1 --batch 8 --workers 0 --device cpu",
    "ladder": "--crop 32 --width 0.05 --epochs 1 --batch 8 --workers 0 --device cpu --nets D",
    "diagnose": "--crop 32 --width 0.05",
    "transfer": "--train-per-class 5 --splits 2",
    "localize train": "--epochs 1 --batch 8 --workers 0 --device cpu",
}


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands(page: Path) -> list[tuple[str, str]]:
    """Return the commands of a page in its order, each with its comment; lines that end in a backslash are joined."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    parts = [line.partition("#") for line in lines]
    return [(command.strip(), comment.strip()) for command, _, comment in parts if command.strip()]


def is_marked(comment: str) -> bool:
    """Return whether a command's comment says why no test runs it."""
    return any(mark in comment for mark in MARKS)


def smaller(command: str) -> list[str]:
    """Return the words after the program, with the options that make the command small."""
    words = shlex.split(command)
    name = words[words.index("vggnet") + 1]
    name = " ".join(words[1:3]) if name == "localize" else name
    if name == "train" and "--train-scale" not in words:
        words += ["--train-scale", "73"]
    # S and Q are written for a crop of 64: all nets of tests have one of 32, which they fit, too
    return words[1:] + SMALLER.get(name, "").split()


def run_command(command: str) -> None:
    """Run `vggnet` in this process, which spares importing torch anew; torchrun as it is."""
    if command.startswith("vggnet "):
        assert run(smaller(command)) == 0, command
        return
    assert command.startswith("torchrun ")
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    done = subprocess.run([*launcher, *smaller(command)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
