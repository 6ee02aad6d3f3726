"""Import a classifier by name, as the command line gives it: `package:function` or `package:function(depth=18)`."""

import ast
import difflib
import importlib
import os
import sys
from typing import Any

from torch import nn

from vggnet.errors import UserError, reason_of
from vggnet.evaluation.input_conventions import Given
from vggnet.evaluation.other_classifiers import OtherClassifier

USAGE = "PACKAGE:FUNCTION, such as torchvision.models:resnet18 or 'mynets:resnet(depth=18)'"


def open_module(
    text: str, *, classes: str | None = None, preprocessing: Given | None = None, crop: int | None = None
) -> OtherClassifier:
    """Return the classifier that a function of an importable module makes; the current folder is looked in first.

    The function returns a torch.nn.Module, which `classes`, `preprocessing` and `crop` describe, or an OtherClassifier,
    which describes itself. Its code runs. Raises UserError where it is not found, fails, or returns something else.
    """
    module, function, options = _parsed(text)
    made = _made(text, _found(text, module, function), options)
    if isinstance(made, OtherClassifier):
        return made
    if not isinstance(made, nn.Module):
        raise UserError(f"`module` {text}: it gives a {type(made).__name__}, not a torch.nn.Module")
    return OtherClassifier(made, classes=classes, preprocessing=preprocessing, crop=crop, name=function)


def _parsed(text: str) -> tuple[str, str, dict[str, Any]]:
    """Return module, function and keyword arguments, which are constants."""
    module, colon, call = text.partition(":")
    try:
        node = ast.parse(call.strip(), mode="eval").body
        keywords = node.keywords if isinstance(node, ast.Call) else []
        positional = node.args if isinstance(node, ast.Call) else []
        name = node.func if isinstance(node, ast.Call) else node
        options = {str(each.arg): ast.literal_eval(each.value) for each in keywords if each.arg is not None}
        if not colon or not module or not isinstance(name, ast.Name) or positional or len(options) < len(keywords):
            raise ValueError
    except (SyntaxError, ValueError):
        raise UserError(f"`module` {text}: give {USAGE}; options are keywords with constants") from None
    return module, name.id, options


def _found(text: str, module: str, function: str) -> Any:
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # the command line's own folder is in its place
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # the code of a module may raise anything
        raise UserError(f"`module` {text}: cannot import {module}: {reason_of(error)}") from error
    if not hasattr(imported, function):
        near = difflib.get_close_matches(function, dir(imported), n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise UserError(f"`module` {text}: {module} has no {function}{hint}")
    return getattr(imported, function)


def _made(text: str, found: Any, options: dict[str, Any]) -> Any:
    """Return what a function makes; a module that is made already, as it is."""
    if isinstance(found, (nn.Module, OtherClassifier)) and not options:
        return found
    if not callable(found) or isinstance(found, nn.Module):
        raise UserError(f"`module` {text}: {type(found).__name__} is no function that makes a module")
    try:
        return found(**options)
    except UserError:
        raise
    except Exception as error:  # another library's code raises anything
        raise UserError(f"`module` {text}: the call fails: {reason_of(error)}") from error
