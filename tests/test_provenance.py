"""What is written beside every figure."""

import json

import pytest

from vggnet.provenance import environment, in_words


@pytest.mark.parametrize(
    ("program", "written"),
    [
        ("/home/someone/.venv/bin/vggnet", "vggnet"),
        ("/home/someone/vggnet/src/vggnet/__main__.py", "vggnet"),  # python -m vggnet
        ("benchmarks/layers_cpu.py", "layers_cpu.py"),
        ("-c", "-c"),
    ],
)
def test_the_command_is_written_without_the_programs_folders(program: str, written: str) -> None:
    facts = environment([program, "train", "photos"])
    assert facts["command"] == [written, "train", "photos"]
    assert "someone" not in json.dumps(facts)


def test_a_line_under_a_benchmark_says_how_busy_the_machine_was() -> None:
    facts = environment() | {"cpu": "Some CPU", "threads": 1, "cores": 4, "load_average": 2.345}
    assert in_words(facts).startswith("Some CPU, 1 threads of 4 cores, load average 2.3, python ")
