"""No module is over 350 lines and no function over 60: what is longer has two subjects."""

import ast
from pathlib import Path

import vggnet

SOURCE = Path(vggnet.__file__).parent
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULE_LINES = 350
FUNCTION_LINES = 60


def too_long(source: str) -> list[str]:
    """The functions and methods of a module that are longer than allowed, with their lines, docstring included."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {each.name: (each.end_lineno or 0) - each.lineno + 1 for each in functions}
    return [f"{name}: {lines} lines" for name, lines in lengths.items() if lines > FUNCTION_LINES]


def test_a_long_function_is_found() -> None:
    body = "    x = 1\n" * FUNCTION_LINES
    assert too_long(f"def short():\n{body[10:]}") == []
    assert too_long(f"class A:\n  def long(self):\n{body}") == [f"long: {FUNCTION_LINES + 1} lines"]


def test_modules_and_functions_are_short() -> None:
    paths = [path for folder in (SOURCE, BENCHMARKS) for path in folder.rglob("*.py")]
    sources = {path: path.read_text(encoding="utf-8") for path in paths}
    assert {path: lines for path, text in sources.items() if (lines := text.count("\n")) > MODULE_LINES} == {}
    assert {path: long for path, text in sources.items() if (long := too_long(text))} == {}
