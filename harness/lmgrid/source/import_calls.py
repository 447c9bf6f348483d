"""Finds the modules that a call imports or a string names, from the syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

OWN_PACKAGE = ("__package__", "__name__")  # names of the package of the file
# The name of a module; with leading dots it is relative.
RELATIVE = re.compile(r"\.*[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


def is_plain_code(node: ast.expr) -> bool:
    """Return whether code for ``eval`` is a literal string that imports nothing."""
    return bool(text := text_of(node)) and "import" not in text


def imported_by(node: ast.Call) -> tuple[str, int] | None:
    """Return the name and level of the module that a call imports; None if the name is computed.

    The level is the number of leading dots of a relative import.
    """
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    name = node.args[0] if node.args else keywords.get("name")
    if isinstance(name, (ast.JoinedStr, ast.BinOp)):
        return _below_own_package(name)
    text = name.value if isinstance(name, ast.Constant) else None
    if not isinstance(text, str) or not RELATIVE.fullmatch(text):
        return None
    level = len(text) - len(text.lstrip("."))
    if not level:
        return text, 0
    package = node.args[1] if len(node.args) > 1 else keywords.get("package")
    return _relative_to(package, text.lstrip("."), level)


def _relative_to(package: ast.expr | None, name: str, level: int) -> tuple[str, int] | None:
    if isinstance(package, ast.Name) and package.id in OWN_PACKAGE:
        return name, level
    if isinstance(package, ast.Constant) and isinstance(package.value, str):
        above = package.value.split(".")[: 1 - level or None]
        return ".".join([*above, name]), 0
    return None


def _below_own_package(name: ast.JoinedStr | ast.BinOp) -> tuple[str, int] | None:
    """Return the module and level of ``f"{__package__}.name"`` or ``__package__ + ".name"``."""
    values = name.values if isinstance(name, ast.JoinedStr) else [name.left, name.right]
    if len(values) != 2:
        return None
    first, below = values[0], text_of(values[1])
    own = first.value if isinstance(first, ast.FormattedValue) else first
    if not (isinstance(own, ast.Name) and own.id in OWN_PACKAGE and RELATIVE.fullmatch(below)):
        return None
    return (below[1:], 1) if below[0] == "." != below[1] else None


def lazy_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each pair of strings in the dictionaries of a module, if the value may be a module."""
    for node in tree.body:
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(value, ast.Dict):
            for key, one in zip(value.keys, value.values, strict=True):
                pair = [text_of(key), text_of(one)]
                if pair[0] and pair[1] and RELATIVE.fullmatch(pair[1]):
                    yield pair[0], pair[1]


def text_of(node: ast.AST | None) -> str:
    """Return the value of a literal string; empty for any other node."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
