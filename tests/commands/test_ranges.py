"""Numbers that an option cannot have are refused before anything is done; zero never stands for "not given"."""

import math
import typing
from pathlib import Path

import pytest

from vggnet.cli import COMMANDS, run
from vggnet.options.data import DataCheckOptions, DataPackOptions
from vggnet.options.flat import flat_fields
from vggnet.options.localization import LocalizeEvaluateOptions, LocalizePredictOptions, LocalizeTrainOptions
from vggnet.options.ranges import RANGES, Range

KINDS = [kind for kind, _ in COMMANDS.values()]
KINDS += [LocalizeTrainOptions, LocalizeEvaluateOptions, LocalizePredictOptions, DataCheckOptions, DataPackOptions]


def numbers(kind: object) -> set[type]:
    """The numeric types in an option's type."""
    return {each for part in typing.get_args(kind) for each in numbers(part)} if kind not in (int, float) else {kind}


def test_every_numeric_option_of_every_command_has_a_range_within_its_default() -> None:
    found = set()
    for kind in KINDS:
        for name, (hint, default) in flat_fields(kind).items():
            if not numbers(hint):
                continue
            found.add(name)
            assert name in RANGES, (kind, name)
            values = () if default is None else default
            for value in values if isinstance(values, tuple) else (values,):
                assert value in RANGES[name], (kind, name)
    assert found == set(RANGES)


def test_open_ends_and_what_is_no_number() -> None:
    part = Range(0, 1, open_low=True, open_high=True)
    assert 0.5 in part
    assert [value in part for value in (0, 1, -math.inf, math.inf, math.nan)] == [False] * 5
    assert str(part) == "above 0 and below 1"
    assert 10**30 not in Range(0, 2**32 - 1)
    assert math.nan not in Range(0, math.inf)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("ladder DATA --out OUT --epochs 0", "--epochs 0: give a number from 1 to 100,000"),
        ("ladder DATA --out OUT --batch 0", "--batch 0: give"),
        ("ladder DATA --out OUT --width 0", "--width 0.0: give a number above 0 to 8"),
        ("ladder DATA --out OUT --nets A B C --shallow B", "B is the shallow net already"),
        ("ladder DATA --out OUT --nets D D --crop 32", "each net once"),
        ("ladder DATA --out OUT --nets D Z --crop 32", "net 'Z' is not in Table 1"),
        ("ladder DATA --out OUT --crop 50", "crop 50 is not a multiple of 32"),
        ("predict MODEL DATA --test-scale 0", "--test-scale 0: give a number from 1 to 10,000"),
        ("predict MODEL DATA --top 0", "--top 0: give"),
        ("evaluate MODEL DATA --test-scale 64 0", "--test-scale 0: give"),
        ("localize predict MODEL DATA --classifier MODEL --top 0", "--top 0: give"),
        ("localize train DATA --init-from MODEL --crop 3200000000", "--crop 3200000000: give"),
        ("quantize MODEL DATA --out OUT --test-scale 0", "--test-scale 0: give"),
        ("quantize MODEL DATA --out OUT --seed -1", "--seed -1: give"),
        ("bench --batch 0", "--batch 0: give"),
        ("bench --threads 1000000", "--threads 1000000: give"),
        ("bench --crop 3200000000", "--crop 3200000000: give"),
        ("transfer MODEL DATA --costs 1 nan", "--costs nan: give a number above 0 to 1,000,000,000"),
        ("transfer MODEL DATA --costs 0", "--costs 0.0: give"),
        ("transfer MODEL DATA --seed -1", "--seed -1: give"),
        ("transfer MODEL DATA --validation 1", "--validation 1.0: give a number above 0 and below 1"),
        ("transfer MODEL DATA --splits 0", "--splits 0: give"),
        ("diagnose DATA --images 0", "--images 0: give"),
        ("nets --num-classes 0", "--num-classes 0: give"),
        ("nets --crop 3200000000", "--crop 3200000000: give"),
        ("quickstart --threads 0", "--threads 0: give"),
    ],
)
def test_numbers_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, said: str) -> None:
    places = {"DATA": tmp_path / "images", "OUT": tmp_path / "out", "MODEL": tmp_path / "model.safetensors"}
    (tmp_path / "images" / "a").mkdir(parents=True)
    assert run([str(places.get(word, word)) for word in arguments.split()]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
    assert not places["OUT"].exists()
