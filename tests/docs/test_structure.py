"""No module is over 350 lines and no function over 60: what is longer has two subjects."""

import ast
from pathlib import Path

import vggnet

SOURCE = Path(vggnet.__file__).parent
MODULE_LINES = 350
FUNCTION_LINES = 60


def too_long(source: str) -> list[str]:
    """The functions and classes' methods of a module that are longer than allowed, with their number of lines."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {each.name: (each.end_lineno or 0) - each.lineno + 1 - docstring_lines(each) for each in functions}
    return [f"{name}: {lines} lines" for name, lines in lengths.items() if lines > FUNCTION_LINES]


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function's docstring, which describes every option where the function is public."""
    first = function.body[0]
    if ast.get_docstring(function) is None or len(function.body) == 1:
        return 0
    return (first.end_lineno or 0) - first.lineno + 1


def test_a_long_function_is_found() -> None:
    body = "    x = 1\n" * FUNCTION_LINES
    assert too_long(f"def short():\n{body[10:]}") == []
    assert too_long(f"class A:\n  def long(self):\n{body}") == [f"long: {FUNCTION_LINES + 1} lines"]


def test_modules_and_functions_are_short() -> None:
    sources = {path.relative_to(SOURCE): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    assert {path: lines for path, text in sources.items() if (lines := text.count("\n")) > MODULE_LINES} == {}
    assert {path: long for path, text in sources.items() if (long := too_long(text))} == {}
