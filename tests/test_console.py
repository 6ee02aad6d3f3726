"""What is printed where, and words for numbers."""

import json
import subprocess
import sys

import pytest

from vggnet import console
from vggnet.console import counted, duration, progress


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "image", "0 images"),
        (1, "train image", "1 train image"),
        (2000, "image", "2,000 images"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "box", "2 boxes"),
        (5, "batch", "5 batches"),
        (4, "epoch", "4 epochs"),
        (2, "process", "2 processes"),
    ],
)
def test_one_and_many(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_durations_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (8.4, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 5 min"]


def test_plain_progress_stays_out_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("scoring", interval_s=0.0) as tick:
        tick(1, 4, "D")
        tick(2, 4)
        tick(4, 4)  # all done: no time left to tell
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(", about")[0] for line in captured.err.splitlines()] == ["scoring: 1/4 D", "scoring: 2/4"]


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with progress("scoring", interval_s=0.0) as tick:
        tick(1, 4)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_control_characters_in_names_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("class \x1b[2Jcat\x07\x9b1A\tdone\nnext")
    assert capsys.readouterr().out == "class \\x1b[2Jcat\\x07\\x9b1A\tdone\nnext\n"


NOTEBOOK = """
import json, nbclient, nbformat.v4
begin = "from vggnet.console import progress; shown = progress('scoring'); tick = shown.__enter__(); tick(1, 4, '<b>')"
cells = [nbformat.v4.new_code_cell(line) for line in (begin, "_ = shown.__exit__(None, None, None)")]
client = nbclient.NotebookClient(nbformat.v4.new_notebook(cells=cells))
seen = []
with client.setup_kernel():
    for place, cell in enumerate(cells):
        client.execute_cell(cell, place)
        seen.append([output.get("data", {}).get("text/html", output) for each in cells for output in each.outputs])
print(json.dumps(seen))
"""


@pytest.mark.slow
def test_a_notebook_shows_one_bar_that_goes_when_the_work_is_done() -> None:
    pytest.importorskip("nbclient", reason="nbclient is not installed: pip install nbclient ipykernel")
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    during, after = json.loads(done.stdout)
    (bar,) = during
    assert bar.startswith('<progress value="1" max="4"></progress> scoring: 1/4 &lt;b&gt;, about ')
    assert after == [""]
