"""Hashes what a Python file computes, so that an edit of comments or layout keeps the hash.

``read`` hashes the syntax tree without the parts that change no result: comments, docstrings,
annotations of parameters, texts of errors, descriptions of options. Names that are bound by an
import are replaced by numbered marks. What the marks stand for is listed separately, since it
depends on the environment where a module is. The position of an import counts only if it decides
what a name stands for: in a block that may not run, if something else binds the name too, or if
an ``import *`` follows. The hash is the same in every version of Python that can read the file.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from lmgrid.source.import_calls import RELATIVE, imported_by, is_plain_code, lazy_names, text_of
from lmgrid.source.scope import TYPING, Import, Scope, Scopes

VERSION = 1  # of what is hashed; a change of it moves addresses
SIZE = 16  # bytes of a digest
SHOWN = 80  # characters of a call in a message

ANNOTATED = frozenset(f"{module}.Annotated" for module in TYPING)
META, WARNING = "msgspec.Meta", "warnings.warn"
DESCRIPTIVE = ("title", "description", "examples", "extra_json_schema")
IMPORTERS = ("importlib.import_module", "importlib.__import__", "builtins.__import__")
LOADERS = (  # of files
    "importlib.util.spec_from_file_location",
    "importlib.machinery.SourceFileLoader",
    "runpy.run_module",
    "runpy.run_path",
)
RESOLVER = "pkgutil.resolve_name"
EVALUATORS = ("builtins.exec", "builtins.eval", "builtins.compile")
GETATTR = "builtins.getattr"
BUILTINS = ("__import__", "exec", "eval", "compile", "getattr")
# Functions that run code which no import statement names.
DYNAMIC = (*IMPORTERS, *LOADERS, RESOLVER, *EVALUATORS)
# Fields of nodes that are not hashed.
UNHASHED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "returns", "annotation"})
BODIES = frozenset({"body", "orelse", "finalbody"})  # fields that hold statements
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_WORD = re.compile(r"[^\W\d]\w*")
_ERROR_TEXT = b"text"  # what is hashed for the text of an error


@dataclass(frozen=True)
class Reference:
    """What a mark stands for: an imported name, or a string that may name a module.

    The kinds are ``import``, a name that the code uses, with the attributes that follow it;
    ``string``, a string that looks like the name of a module; ``star``, a module from which all
    names are imported; ``bound``, a name that is imported but not used here, so that other files
    may import it from this one; ``module``, an import whose name is used only in annotations and
    texts, or not at all in its function.
    """

    kind: str
    name: str  # dotted
    level: int = 0  # leading dots of a relative import
    bound: str = ""  # of the kind ``bound``: the name under which it is imported
    in_function: bool = False  # imported only when a function is called


@dataclass(frozen=True)
class DynamicCode:
    """A call that runs code that the file does not name, such as an import of a computed name."""

    line: int
    text: str  # the call, shortened
    in_function: bool = False


@dataclass(frozen=True)
class Meaning:
    """The hash of a file, and what the file refers to."""

    digest: str
    references: tuple[Reference, ...] = ()  # in the order of the marks; then unused imports
    unresolved: tuple[DynamicCode, ...] = ()
    exports: tuple[tuple[str, Reference], ...] = ()  # names that exactly one import binds
    # Pairs of strings in dictionaries, which may say from where a name is imported on first use.
    lazy: tuple[tuple[str, str], ...] = ()


def read(source: bytes) -> Meaning:
    """Return the meaning of a file; if this Python cannot parse it, a hash of its bytes.

    >>> read(b"x = 1  # one").digest == read(b"x=1").digest
    True
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Meaning(hashlib.blake2b(b"bytes\x00" + source, digest_size=SIZE).hexdigest())
    return _TreeHasher(tree).hash(tree)


_Items: TypeAlias = "Iterable[bytes | tuple[ast.AST, Scope]]"


class _ErrorText(ast.expr):
    """A node in place of the text of an error."""


class _TreeHasher:
    """Hashes a syntax tree, node by node, and collects what it refers to.

    A method for a kind of node returns the items that are hashed in its place: bytes, and nodes
    with the scopes in which their names are used. It returns None to hash the node as it is.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._scopes = Scopes(tree)
        self._hash = hashlib.blake2b(digest_size=SIZE)
        self._marks: dict[tuple[str, str, int], int] = {}  # number by kind, name and level
        self._only_in_functions: list[bool] = []  # by number of the mark
        self._unhashed_names: set[str] = set()  # names that occur in what is not hashed
        self._variables: dict[tuple[Scope, str], int] = {}  # numbers, in the order of use
        self._computed: list[DynamicCode] = []
        self._checked: set[int] = set()  # ids of function names whose calls were checked
        self._special: dict[type[ast.AST], Callable[[Any, Scope], _Items | None]] = {
            ast.AnnAssign: self._annotated_assignment,
            ast.Assert: self._assert,
            ast.Attribute: self._name,
            ast.Call: self._call,
            ast.ClassDef: self._class,
            ast.Constant: self._constant,
            ast.FormattedValue: self._formatted,
            ast.Global: self._declaration,
            ast.Import: self._import,
            ast.ImportFrom: self._import,
            ast.JoinedStr: self._joined,
            ast.Name: self._name,
            ast.Nonlocal: self._declaration,
            ast.Raise: self._raise,
            ast.Subscript: self._subscript,
            ast.arg: self._parameter,
            _ErrorText: lambda node, where: [_ERROR_TEXT],
            **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), self._function),
            **dict.fromkeys((ast.ListComp, ast.SetComp, ast.GeneratorExp), self._comprehension),
            ast.DictComp: self._comprehension,
        }

    def hash(self, tree: ast.Module) -> Meaning:
        """Return the meaning of the file."""
        waiting: list[bytes | tuple[ast.AST, Scope]] = [(tree, self._scopes.root)]
        while waiting:  # a recursion would reach its limit in a long sum
            item = waiting.pop()
            if isinstance(item, bytes):
                self._hash.update(item)
            else:
                waiting += reversed([*self._expand(*item)])
        references = (*self._used(), *self._unused())
        exports, lazy = tuple(self._exports()), tuple(lazy_names(tree))
        return Meaning(
            digest=self._hash.hexdigest(),
            references=references,
            unresolved=tuple(self._computed),
            exports=exports,
            lazy=lazy,
        )

    # ------------------------------------------------------------ nodes

    def _expand(self, node: ast.AST, where: Scope) -> _Items:
        special = self._special.get(type(node))
        found = special(node, where) if special else None
        return self._plain(node, where) if found is None else found

    def _plain(self, node: ast.AST, where: Scope, **inner: Scope) -> _Items:
        """Return the items of a node: its name and fields. ``inner``: scopes of fields by name."""
        names = (name for name in node._fields if name not in UNHASHED)
        fields = {name: getattr(node, name, None) for name in names}
        return self._node(type(node).__name__, fields, where, **inner)

    def _node(self, kind: str, fields: dict[str, Any], where: Scope, **inner: Scope) -> _Items:
        yield f"({kind}".encode()
        for name, value in fields.items():
            place = inner.get(name, where)
            if name in BODIES and isinstance(value, list):
                value = self._statements(value, place)
            if value is not None and value != []:
                yield f".{name}=".encode()
                yield from _value(value, place)
        yield b")"

    def _statements(self, body: list[ast.stmt], where: Scope) -> list[ast.stmt]:
        """Return the statements that are hashed, without branches that never run."""
        kept: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, ast.If) and self._scopes.runtime_branch(statement) is not None:
                self._note_names(statement.test)
                kept += self._statements(self._scopes.runtime_branch(statement) or [], where)
            elif not self._has_no_effect(statement, where):
                kept.append(statement)
        return kept

    def _has_no_effect(self, statement: ast.stmt, where: Scope) -> bool:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            return not self._scopes.positioned(statement)
        if isinstance(statement, ast.Pass):
            return True
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return isinstance(statement.value.value, str) or statement.value.value is ...
        if isinstance(statement, (ast.Global, ast.Nonlocal)):
            return not self._declared(statement, where)
        if isinstance(statement, ast.AnnAssign) and where.kind != "class":
            self._note_annotation(statement.annotation)
            return statement.value is None
        return False

    def _annotated_assignment(self, node: ast.AnnAssign, where: Scope) -> _Items | None:
        if where.kind == "class":
            fields = {"target": node.target, "annotation": node.annotation, "value": node.value}
            return self._node("AnnAssign", fields, where)
        return self._node("Assign", {"targets": [node.target], "value": node.value}, where)

    def _function(self, node: Any, where: Scope) -> _Items:
        if getattr(node, "returns", None):
            self._note_annotation(node.returns)
        return self._plain(node, where, body=self._scopes.opened_by(node))

    def _parameter(self, node: ast.arg, where: Scope) -> _Items | None:
        if node.annotation:
            self._note_annotation(node.annotation)
        return None

    def _class(self, node: ast.ClassDef, where: Scope) -> _Items:
        return self._plain(node, where, body=self._scopes.opened_by(node))

    def _comprehension(self, node: Any, where: Scope) -> _Items:
        inner, first = self._scopes.opened_by(node), node.generators[0]
        yield f"({type(node).__name__}.over=".encode()
        yield first.iter, where  # evaluated in the scope around it
        yield from _value([first.target, first.ifs, first.is_async, node.generators[1:]], inner)
        names = (name for name in node._fields if name != "generators")
        yield from _value([getattr(node, name) for name in names], inner)
        yield b")"

    def _declaration(self, node: ast.Global | ast.Nonlocal, where: Scope) -> _Items:
        return self._node(type(node).__name__, {"names": self._declared(node, where)}, where)

    def _declared(self, node: ast.Global | ast.Nonlocal, where: Scope) -> list[str]:
        return sorted(name for name in node.names if not where.find(name))

    # ------------------------------------------------------------ texts

    def _constant(self, node: ast.Constant, where: Scope) -> _Items:
        if isinstance(node.value, str):
            return self._string(node.value, where)
        return [_atom(type(node.value).__name__, _number(node.value))]

    def _string(self, text: str, where: Scope) -> _Items:
        if _DOTTED.fullmatch(text):
            return [self._mark([("string", text, 0, where.in_function)])]
        return [_atom("str", text.encode("utf-8", "surrogatepass"))]

    def _joined(self, node: ast.JoinedStr, where: Scope) -> _Items:
        """Return an f-string with adjacent texts joined, since versions of Python differ there."""
        parts = _merge(node.values)
        if all(isinstance(part, str) for part in parts):
            return self._string("".join(map(str, parts)), where)
        return [b"(JoinedStr", *(item for part in parts for item in _value(part, where)), b")"]

    def _formatted(self, node: ast.FormattedValue, where: Scope) -> _Items:
        spec = node.format_spec
        empty = isinstance(spec, ast.JoinedStr) and not _merge(spec.values)
        fields = {"value": node.value, "conversion": node.conversion}
        return self._node("FormattedValue", fields | {"spec": None if empty else spec}, where)

    def _raise(self, node: ast.Raise, where: Scope) -> _Items:
        """Return the statement without the texts among the arguments of the error itself.

        The texts in other calls inside it are hashed, since they may decide something, as keys do.
        """
        fields = {"exc": node.exc, "cause": node.cause}
        calls = ((name, one) for name, one in fields.items() if isinstance(one, ast.Call))
        without = {name: self._without_texts(one, where) for name, one in calls}
        return self._node("Raise", fields | without, where)

    def _without_texts(self, node: ast.Call, where: Scope) -> ast.Call:
        if self._absolute_names(node.func, where) & {*DYNAMIC, GETATTR}:
            return node
        keywords = [ast.keyword(one.arg, self._unless_text(one.value)) for one in node.keywords]
        return ast.Call(node.func, [*map(self._unless_text, node.args)], keywords)

    def _unless_text(self, node: ast.expr) -> ast.expr:
        if not _is_text(node):
            return node
        self._note_names(node)
        return _ErrorText()

    def _assert(self, node: ast.Assert, where: Scope) -> _Items:
        if node.msg:
            self._note_names(node.msg)
        return self._node("Assert", {"test": node.test}, where)

    # ------------------------------------------------------------ calls and options

    def _call(self, node: ast.Call, where: Scope) -> _Items | None:
        called = self._absolute_names(node.func, where)
        if called == {META}:
            return self._plain(_without_descriptions(node), where)
        if called == {WARNING}:
            return self._warning(node, where)
        if called and called <= {*IMPORTERS}:
            return self._import_call(node, where)
        if called == {RESOLVER}:
            return self._resolving_call(node, where)
        if called and called <= {*EVALUATORS}:
            self._checked.add(id(node.func))
        if self._runs_dynamic_code(node, called, where):
            self._report(node, where)
        return None

    def _warning(self, node: ast.Call, where: Scope) -> _Items:
        args = [*map(self._unless_text, node.args[:1]), *node.args[1:]]
        message = (one for one in node.keywords if one.arg == "message")
        texts = {one: ast.keyword(one.arg, self._unless_text(one.value)) for one in message}
        yield b"(Call.func="
        yield node.func, where
        yield from ((one, where) for one in args)
        yield from ((texts.get(one, one), where) for one in node.keywords)
        yield b")"

    def _runs_dynamic_code(self, node: ast.Call, called: set[str], where: Scope) -> bool:
        """Return whether a call evaluates a computed text, or gets a function that does so."""
        if called and called <= {*EVALUATORS}:
            return not (node.args and is_plain_code(node.args[0]))
        if called != {GETATTR} or len(node.args) < 2:
            return False
        attribute = text_of(node.args[1])
        names = {f"{owner}.{attribute}" for owner in self._absolute_names(node.args[0], where)}
        return any(one in names if attribute else one.startswith(tuple(names)) for one in DYNAMIC)

    def _resolving_call(self, node: ast.Call, where: Scope) -> _Items | None:
        """Return the mark of what ``pkgutil.resolve_name`` finds; None if the name is computed."""
        given = [*node.args, *(one.value for one in node.keywords)]
        name = text_of(given[0]).replace(":", ".").rstrip(".") if len(given) == 1 else ""
        self._checked.add(id(node.func))
        if not RELATIVE.fullmatch(name) or name.startswith("."):
            self._report(node, where)
            return None
        self._note_names(node.func)
        return [b"(ResolveCall", self._mark([("import", name, 0, where.in_function)]), b")"]

    def _report(self, node: ast.expr, where: Scope) -> None:
        self._computed.append(DynamicCode(node.lineno, _shown(node), where.in_function))

    def _import_call(self, node: ast.Call, where: Scope) -> _Items | None:
        """Return the mark of the module that a call imports, or the call if that is computed."""
        self._note_names(node.func)
        found = imported_by(node)
        if found is None:
            self._report(node, where)
            fields = {"args": node.args, "keywords": node.keywords}
            return self._node("ImportCall", fields, where)
        name, level = found
        return [b"(ImportCall", self._mark([("import", name, level, where.in_function)]), b")"]

    def _subscript(self, node: ast.Subscript, where: Scope) -> _Items | None:
        names = self._absolute_names(node.value, where)
        if not (names and names <= ANNOTATED and isinstance(node.slice, ast.Tuple)):
            return None
        kind, *remarks = node.slice.elts
        kept = [one for one in remarks if not self._is_description(one, where)]
        for one in (node.value, *remarks):
            self._note_names(one)
        if not kept:
            return [(kind, where)]
        return self._node("Annotated", {"value": node.value, "of": [kind, *kept]}, where)

    def _is_description(self, node: ast.expr, where: Scope) -> bool:
        if not isinstance(node, ast.Call) or self._absolute_names(node.func, where) != {META}:
            return False
        return not node.args and not _without_descriptions(node).keywords

    # ------------------------------------------------------------ names and marks

    def _import(self, node: ast.Import | ast.ImportFrom, where: Scope) -> _Items:
        """Return those imports of a statement whose position counts."""
        for one in self._scopes.positioned(node):
            one.used = True
            yield b"(Import"
            if one.bound == "*" and isinstance(node, ast.ImportFrom):
                yield self._mark([("star", one.name, one.level, one.in_function)])
                yield from self._before_star(node)
            else:
                yield self._variable(one.bound, where)
                yield self._mark([("import", one.module, one.level, one.in_function)])
            yield b")"

    def _before_star(self, star: ast.ImportFrom) -> _Items:
        """Return the imports before a star import, which may bind their names again."""
        before = {(one.bound, one.module, one.level): one for one in self._scopes.before_star(star)}
        for bound, module, level in sorted(before):
            yield _atom("name", bound.encode())
            yield self._mark([("import", module, level, before[bound, module, level].in_function)])

    def _variable(self, name: str, where: Scope) -> bytes:
        """Return what identifies a name whose import has a position that counts.

        In a function it is a number, so that a renaming does not change the hash. In a module or
        class it is the name, by which other code may get it; also if a definition binds it too.
        """
        home = where.binding_scope(name) or where
        if home.kind != "function" or name in home.others:
            return _atom("name", name.encode())
        return b"@%d" % self._variables.setdefault((home, name), len(self._variables))

    def _name(self, node: ast.Name | ast.Attribute, where: Scope) -> _Items | None:
        found = self._imports(node, where)
        if not found:
            self._check_builtin(node, where)
            return None
        for one, name in found:
            one.used |= not one.submodule or f"{name}.".startswith(f"{one.submodule}.")
            if name in DYNAMIC and id(node) not in self._checked:
                self._report(node, where)
        mark = self._mark([("import", name, one.level, one.in_function) for one, name in found])
        first = found[0][0]
        return [mark, self._variable(first.bound, where)] if first.position_counts else [mark]

    def _check_builtin(self, node: ast.Name | ast.Attribute, where: Scope) -> None:
        """Report a use of a builtin function that runs code which the file does not name."""
        hiding = isinstance(node, ast.Name) and self._absolute_names(node, where) & {*DYNAMIC}
        if hiding and id(node) not in self._checked:
            self._report(node, where)

    def _imports(self, node: ast.AST, where: Scope) -> list[tuple[Import, str]]:
        """Return the imports that bind the first name of ``a.b.c``, each with the dotted name."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return []
        attributes.reverse()
        found = where.find(node.id)
        return [(one, ".".join([one.name, *attributes])) for one in found]

    def _absolute_names(self, node: ast.AST, where: Scope) -> set[str]:
        """Return the dotted names of absolute imports that a name may stand for."""
        if isinstance(node, ast.Name) and node.id in BUILTINS and not where.binding_scope(node.id):
            return {f"builtins.{node.id}"}
        return {name for one, name in self._imports(node, where) if not one.level}

    def _mark(self, found: Iterable[tuple[str, str, int, bool]]) -> bytes:
        """Return the mark of (kind, name, level, in_function) references, numbering new ones."""
        numbers: list[int] = []
        for kind, name, level, in_function in found:
            number = self._marks.setdefault((kind, name, level), len(self._marks))
            if number == len(self._only_in_functions):
                self._only_in_functions.append(in_function)
            self._only_in_functions[number] &= in_function
            numbers.append(number)
        once = dict.fromkeys(numbers)
        return b"<" + ",".join(map(str, once)).encode() + b">"

    def _note_names(self, node: ast.AST) -> None:
        """Note the names in what is not hashed: an import of them is not unused."""
        self._unhashed_names.update(one.id for one in ast.walk(node) if isinstance(one, ast.Name))

    def _note_annotation(self, node: ast.expr) -> None:
        self._note_names(node)
        for text in filter(None, map(text_of, ast.walk(node))):
            self._unhashed_names.update(_WORD.findall(text))

    def _used(self) -> Iterator[Reference]:
        marks = zip(self._marks, self._only_in_functions, strict=True)
        for (kind, name, level), in_function in marks:
            yield Reference(kind, name, level, in_function=in_function)

    def _unused(self) -> list[Reference]:
        found: set[Reference] = set()
        for one in (one for one in self._scopes.imports if not one.used):
            if one.submodule or one.in_function or one.bound in self._unhashed_names:
                found.add(Reference("module", one.module, one.level, in_function=one.in_function))
            else:
                found.add(Reference("bound", one.name, one.level, one.bound))
        return sorted(
            found, key=lambda one: (one.kind, one.name, one.level, one.bound, one.in_function)
        )

    def _exports(self) -> Iterator[tuple[str, Reference]]:
        root = self._scopes.root
        for bound, found in sorted(root.imports.items()):
            if bound not in root.others and not any(
                one.position_counts or one.before_star for one in found
            ):
                yield (
                    bound,
                    Reference(
                        "import", found[0].name, found[0].level, in_function=found[0].in_function
                    ),
                )


# ---------------------------------------------------------------- bytes that are hashed


def _value(value: Any, where: Scope) -> _Items:
    if isinstance(value, list):
        yield b"["
        for one in value:
            yield from _value(one, where)
        yield b"]"
    elif isinstance(value, ast.AST):
        yield value, where
    elif isinstance(value, str):
        yield _atom("name", value.encode("utf-8", "surrogatepass"))
    else:
        yield _atom(type(value).__name__, _number(value))


def _atom(kind: str, data: bytes) -> bytes:
    return f"{kind}:{len(data)}:".encode() + data


def _number(value: Any) -> bytes:
    """Return the bytes of a constant that is not a string; integers in base 16, without limit."""
    if isinstance(value, bytes):
        return value
    return format(value, "x").encode() if type(value) is int else repr(value).encode()


def _merge(values: Iterable[ast.expr]) -> list[ast.expr | str]:
    """Return the parts of an f-string, with adjacent texts joined and empty ones left out."""
    merged: list[ast.expr | str] = []
    for value in values:
        text = value.value if isinstance(value, ast.Constant) else None
        if not isinstance(text, str):
            merged.append(value)
        elif text and merged and isinstance(merged[-1], str):
            merged[-1] += text
        elif text:
            merged.append(text)
    return merged


def _is_text(node: ast.expr) -> bool:
    """Return whether an expression is a string, or builds one from a string and values."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        if isinstance(node.op, ast.Add) and _is_literal(node.right):
            return True
        node = node.left
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("format", "join") and _is_literal(node.func.value)
    return _is_literal(node)


def _is_literal(node: ast.expr) -> bool:
    is_string = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_string or isinstance(node, ast.JoinedStr)


def _without_descriptions(node: ast.Call) -> ast.Call:
    kept = [keyword for keyword in node.keywords if keyword.arg not in DESCRIPTIVE]
    return ast.Call(node.func, node.args, kept)


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
