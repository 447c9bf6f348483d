"""What a Python file computes, as a hash that its wording and layout leave alone.

``read`` writes the syntax tree into a hash, without what changes no number: comments, docstrings,
annotations of parameters, texts of errors, descriptions of options. Names bound by an import are
replaced by numbered marks, and what these stand for is listed apart, since only the environment
knows where a module is. The place of an import counts only where it decides what a name stands for:
in a block that may not run, beside what else binds the name, and where ``import *`` is near. The
hash is the same on every version of Python that reads the file.
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

VERSION = 1  # of what is written into the hash; another one makes other addresses
SIZE = 16  # bytes of a digest
SHOWN = 80  # characters of a call that is shown to a person

ANNOTATED = frozenset(f"{module}.Annotated" for module in TYPING)
META, WARN = "msgspec.Meta", "warnings.warn"
DESCRIPTIVE = ("title", "description", "examples", "extra_json_schema")
IMPORTERS = ("importlib.import_module", "importlib.__import__", "builtins.__import__")
LOADERS = (  # they run files that no import names
    "importlib.util.spec_from_file_location",
    "importlib.machinery.SourceFileLoader",
    "runpy.run_module",
    "runpy.run_path",
)
RESOLVER = "pkgutil.resolve_name"
EVALUATORS = ("builtins.exec", "builtins.eval", "builtins.compile")
GETATTR = "builtins.getattr"
BUILTINS = ("__import__", "exec", "eval", "compile", "getattr")
HIDING = (*IMPORTERS, *LOADERS, RESOLVER, *EVALUATORS)  # what they run, no import statement says
UNWRITTEN = frozenset({"ctx", "kind", "type_comment", "type_ignores", "returns", "annotation"})
BODIES = frozenset({"body", "orelse", "finalbody"})
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_WORD = re.compile(r"[^\W\d]\w*")
_TEXT = b"text"  # stands for every text of an error


@dataclass(frozen=True)
class Reference:
    """What a mark stands for: an imported name, or a string that may name a module.

    level: leading dots of a relative import. late: imported only when a function is called.

    The kinds: ``import`` is a name that the code uses, with the attributes that follow it.
    ``string`` is a text that looks like the name of a module. ``star`` is a module all of whose
    names are imported. ``bound`` is imported under the name ``bound`` for whoever imports it from
    here, as the file itself does not use it. ``module`` is loaded, while the name that it is
    imported by occurs only in annotations and texts, or nowhere in the function that imports it.
    """

    kind: str
    name: str
    level: int = 0
    bound: str = ""
    late: bool = False


@dataclass(frozen=True)
class Computed:
    """A place where code runs that cannot be told from the file: an import by a computed name."""

    line: int
    text: str
    late: bool = False


@dataclass(frozen=True)
class Meaning:
    """A file's hash and what it refers to, in the order of the marks; unused imports come last.

    exports: what the module's names that are bound by one import stand for. lazy: pairs of strings
    in the module's dictionaries, which may say where its names are imported from.
    """

    digest: str
    references: tuple[Reference, ...] = ()
    unresolved: tuple[Computed, ...] = ()
    exports: tuple[tuple[str, Reference], ...] = ()
    lazy: tuple[tuple[str, str], ...] = ()


def read(source: bytes) -> Meaning:
    """Return what a file means; one that this Python cannot parse counts by its bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Meaning(hashlib.blake2b(b"bytes\x00" + source, digest_size=SIZE).hexdigest())
    return _Writer(tree).write(tree)


_Items: TypeAlias = "Iterable[bytes | tuple[ast.AST, Scope]]"


class _Text(ast.expr):
    """Stands in the tree for the text of an error."""


class _Writer:
    """Writes a syntax tree into a hash, node by node, and collects what it refers to."""

    def __init__(self, tree: ast.Module) -> None:
        self._scopes = Scopes(tree)
        self._hash = hashlib.blake2b(digest_size=SIZE)
        self._marks: dict[tuple[str, str, int], int] = {}
        self._late: list[bool] = []
        self._unwritten: set[str] = set()  # names that are used in what does not count
        self._variables: dict[tuple[Scope, str], int] = {}  # numbered as they occur
        self._computed: list[Computed] = []
        self._judged: set[int] = set()  # by id: names of functions whose calls have been looked at
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
            _Text: lambda node, where: [_TEXT],
            **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), self._function),
            **dict.fromkeys((ast.ListComp, ast.SetComp, ast.GeneratorExp), self._comprehension),
            ast.DictComp: self._comprehension,
        }

    def write(self, tree: ast.Module) -> Meaning:
        waiting: list[bytes | tuple[ast.AST, Scope]] = [(tree, self._scopes.root)]
        while waiting:  # and no recursion, which a long sum would bring to its limit
            item = waiting.pop()
            if isinstance(item, bytes):
                self._hash.update(item)
            else:
                waiting += reversed([*self._expand(*item)])
        references = (*self._used(), *self._unused())
        exports, lazy = tuple(self._exports()), tuple(lazy_names(tree))
        return Meaning(self._hash.hexdigest(), references, tuple(self._computed), exports, lazy)

    # ------------------------------------------------------------ nodes

    def _expand(self, node: ast.AST, where: Scope) -> _Items:
        special = self._special.get(type(node))
        found = special(node, where) if special else None
        return self._plain(node, where) if found is None else found

    def _plain(self, node: ast.AST, where: Scope, **inner: Scope) -> _Items:
        """Return a node's name and fields; ``inner`` says which are in a scope of their own."""
        names = (name for name in node._fields if name not in UNWRITTEN)
        written = {name: getattr(node, name, None) for name in names}
        return self._node(type(node).__name__, written, where, **inner)

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
        """Return the statements that count; where one branch never runs, those of the other."""
        kept: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, ast.If) and self._scopes.running(statement) is not None:
                self._pass_over(statement.test)
                kept += self._statements(self._scopes.running(statement) or [], where)
            elif not self._is_idle(statement, where):
                kept.append(statement)
        return kept

    def _is_idle(self, statement: ast.stmt, where: Scope) -> bool:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            return not self._scopes.placed(statement)
        if isinstance(statement, ast.Pass):
            return True
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return isinstance(statement.value.value, str) or statement.value.value is ...
        if isinstance(statement, (ast.Global, ast.Nonlocal)):
            return not self._declared(statement, where)
        if isinstance(statement, ast.AnnAssign) and where.kind != "class":
            self._pass_over_annotation(statement.annotation)
            return statement.value is None
        return False

    def _annotated_assignment(self, node: ast.AnnAssign, where: Scope) -> _Items | None:
        if where.kind == "class":
            fields = {"target": node.target, "annotation": node.annotation, "value": node.value}
            return self._node("AnnAssign", fields, where)
        return self._node("Assign", {"targets": [node.target], "value": node.value}, where)

    def _function(self, node: Any, where: Scope) -> _Items:
        if getattr(node, "returns", None):
            self._pass_over_annotation(node.returns)
        return self._plain(node, where, body=self._scopes.inside(node))

    def _parameter(self, node: ast.arg, where: Scope) -> _Items | None:
        if node.annotation:
            self._pass_over_annotation(node.annotation)
        return None

    def _class(self, node: ast.ClassDef, where: Scope) -> _Items:
        return self._plain(node, where, body=self._scopes.inside(node))

    def _comprehension(self, node: Any, where: Scope) -> _Items:
        inner, first = self._scopes.inside(node), node.generators[0]
        yield f"({type(node).__name__}.over=".encode()
        yield first.iter, where  # evaluated outside
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
            return [self._mark([("string", text, 0, where.late)])]
        return [_atom("str", text.encode("utf-8", "surrogatepass"))]

    def _joined(self, node: ast.JoinedStr, where: Scope) -> _Items:
        """Return an f-string with neighbouring texts as one, as versions of Python differ there."""
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
        """Return the statement without the texts that are handed to the error itself.

        A text that is handed to another call in there counts, as a key does: it may decide.
        """
        fields = {"exc": node.exc, "cause": node.cause}
        calls = ((name, one) for name, one in fields.items() if isinstance(one, ast.Call))
        without = {name: self._without_texts(one, where) for name, one in calls}
        return self._node("Raise", fields | without, where)

    def _without_texts(self, node: ast.Call, where: Scope) -> ast.Call:
        if self._names(node.func, where) & {*HIDING, GETATTR}:
            return node
        keywords = [ast.keyword(one.arg, self._unless_text(one.value)) for one in node.keywords]
        return ast.Call(node.func, [*map(self._unless_text, node.args)], keywords)

    def _unless_text(self, node: ast.expr) -> ast.expr:
        if not _is_text(node):
            return node
        self._pass_over(node)
        return _Text()

    def _assert(self, node: ast.Assert, where: Scope) -> _Items:
        if node.msg:
            self._pass_over(node.msg)
        return self._node("Assert", {"test": node.test}, where)

    # ------------------------------------------------------------ calls and options

    def _call(self, node: ast.Call, where: Scope) -> _Items | None:
        called = self._names(node.func, where)
        if called == {META}:
            return self._plain(_without_descriptions(node), where)
        if called == {WARN}:
            return self._warning(node, where)
        if called and called <= {*IMPORTERS}:
            return self._import_call(node, where)
        if called == {RESOLVER}:
            return self._resolving_call(node, where)
        if called and called <= {*EVALUATORS}:
            self._judged.add(id(node.func))
        if self._hides(node, called, where):
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

    def _hides(self, node: ast.Call, called: set[str], where: Scope) -> bool:
        """Whether a call runs a text that is not at hand, or gets by name what would."""
        if called and called <= {*EVALUATORS}:
            return not (node.args and is_plain_code(node.args[0]))
        if called != {GETATTR} or len(node.args) < 2:
            return False
        attribute = text_of(node.args[1])
        names = {f"{owner}.{attribute}" for owner in self._names(node.args[0], where)}
        return any(one in names if attribute else one.startswith(tuple(names)) for one in HIDING)

    def _resolving_call(self, node: ast.Call, where: Scope) -> _Items | None:
        """Return the mark of what ``pkgutil.resolve_name`` finds; None if its name is computed."""
        given = [*node.args, *(one.value for one in node.keywords)]
        name = text_of(given[0]).replace(":", ".").rstrip(".") if len(given) == 1 else ""
        self._judged.add(id(node.func))
        if not RELATIVE.fullmatch(name) or name.startswith("."):
            self._report(node, where)
            return None
        self._pass_over(node.func)
        return [b"(ResolveCall", self._mark([("import", name, 0, where.late)]), b")"]

    def _report(self, node: ast.expr, where: Scope) -> None:
        self._computed.append(Computed(node.lineno, _shown(node), where.late))

    def _import_call(self, node: ast.Call, where: Scope) -> _Items | None:
        """Return the mark of a module that is imported by a call; None if its name is computed."""
        self._pass_over(node.func)
        late = where.late
        found = imported_by(node)
        if found is None:
            self._report(node, where)
            fields = {"args": node.args, "keywords": node.keywords}
            return self._node("ImportCall", fields, where)
        name, level = found
        return [b"(ImportCall", self._mark([("import", name, level, late)]), b")"]

    def _subscript(self, node: ast.Subscript, where: Scope) -> _Items | None:
        names = self._names(node.value, where)
        if not (names and names <= ANNOTATED and isinstance(node.slice, ast.Tuple)):
            return None
        kind, *remarks = node.slice.elts
        kept = [one for one in remarks if not self._is_description(one, where)]
        for one in (node.value, *remarks):
            self._pass_over(one)
        if not kept:
            return [(kind, where)]
        return self._node("Annotated", {"value": node.value, "of": [kind, *kept]}, where)

    def _is_description(self, node: ast.expr, where: Scope) -> bool:
        if not isinstance(node, ast.Call) or self._names(node.func, where) != {META}:
            return False
        return not node.args and not _without_descriptions(node).keywords

    # ------------------------------------------------------------ names and marks

    def _import(self, node: ast.Import | ast.ImportFrom, where: Scope) -> _Items:
        """Return what a statement imports, as far as its place counts."""
        for one in self._scopes.placed(node):
            one.used = True
            yield b"(Import"
            if one.bound == "*" and isinstance(node, ast.ImportFrom):
                yield self._mark([("star", one.name, one.level, one.late)])
                yield from self._covered(node)
            else:
                yield self._variable(one.bound, where)
                yield self._mark([("import", one.module, one.level, one.late)])
            yield b")"

    def _covered(self, star: ast.ImportFrom) -> _Items:
        """Return the names that are imported before a star, which may bind them again."""
        before = {(one.bound, one.module, one.level): one for one in self._scopes.covered(star)}
        for bound, module, level in sorted(before):
            yield _atom("name", bound.encode())
            yield self._mark([("import", module, level, before[bound, module, level].late)])

    def _variable(self, name: str, where: Scope) -> bytes:
        """Return what tells a name from others whose imports have places too.

        In a function a number does, and the name itself does not count. Other modules may ask for
        the names of a module, and a definition writes its name.
        """
        home = where.home(name) or where
        if home.kind != "function" or name in home.others:
            return _atom("name", name.encode())
        return b"@%d" % self._variables.setdefault((home, name), len(self._variables))

    def _name(self, node: ast.Name | ast.Attribute, where: Scope) -> _Items | None:
        found = self._imports(node, where)
        if not found:
            self._watch(node, where)
            return None
        for one, name in found:
            one.used |= not one.whole or f"{name}.".startswith(f"{one.whole}.")
            if name in HIDING and id(node) not in self._judged:
                self._report(node, where)
        mark = self._mark([("import", name, one.level, one.late) for one, name in found])
        first = found[0][0]
        return [mark, self._variable(first.bound, where)] if first.placed else [mark]

    def _watch(self, node: ast.Name | ast.Attribute, where: Scope) -> None:
        """Report a builtin function that runs what the file does not say."""
        hiding = isinstance(node, ast.Name) and self._names(node, where) & {*HIDING}
        if hiding and id(node) not in self._judged:
            self._report(node, where)

    def _imports(self, node: ast.AST, where: Scope) -> list[tuple[Import, str]]:
        """Return the imports that a chain of attributes begins with, and its dotted name."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return []
        attributes.reverse()
        found = where.find(node.id)
        return [(one, ".".join([one.name, *attributes])) for one in found]

    def _names(self, node: ast.AST, where: Scope) -> set[str]:
        """Return what a name may stand for, by dotted names of absolute imports."""
        if isinstance(node, ast.Name) and node.id in BUILTINS and not where.home(node.id):
            return {f"builtins.{node.id}"}
        return {name for one, name in self._imports(node, where) if not one.level}

    def _mark(self, found: Iterable[tuple[str, str, int, bool]]) -> bytes:
        numbers: list[int] = []
        for kind, name, level, late in found:
            number = self._marks.setdefault((kind, name, level), len(self._marks))
            if number == len(self._late):
                self._late.append(late)
            self._late[number] &= late
            numbers.append(number)
        once = dict.fromkeys(numbers)
        return b"<" + ",".join(map(str, once)).encode() + b">"

    def _pass_over(self, node: ast.AST) -> None:
        """Remember the names in what does not count: an import of them has a use."""
        self._unwritten.update(one.id for one in ast.walk(node) if isinstance(one, ast.Name))

    def _pass_over_annotation(self, node: ast.expr) -> None:
        self._pass_over(node)
        for text in filter(None, map(text_of, ast.walk(node))):
            self._unwritten.update(_WORD.findall(text))

    def _used(self) -> Iterator[Reference]:
        for (kind, name, level), late in zip(self._marks, self._late, strict=True):
            yield Reference(kind, name, level, late=late)

    def _unused(self) -> list[Reference]:
        found: set[Reference] = set()
        for one in (one for one in self._scopes.imports if not one.used):
            if one.whole or one.late or one.bound in self._unwritten:
                found.add(Reference("module", one.module, one.level, late=one.late))
            else:
                found.add(Reference("bound", one.name, one.level, one.bound))
        return sorted(found, key=lambda one: (one.kind, one.name, one.level, one.bound, one.late))

    def _exports(self) -> Iterator[tuple[str, Reference]]:
        root = self._scopes.root
        for bound, found in sorted(root.imports.items()):
            if bound not in root.others and not any(one.placed or one.covered for one in found):
                yield bound, Reference("import", found[0].name, found[0].level, late=found[0].late)


# ---------------------------------------------------------------- what is written


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
    """Return a constant that is no text; integers in base 16, which has no limit of digits."""
    if isinstance(value, bytes):
        return value
    return format(value, "x").encode() if type(value) is int else repr(value).encode()


def _merge(values: Iterable[ast.expr]) -> list[ast.expr | str]:
    """Return the parts of an f-string, neighbouring texts as one and empty ones left out."""
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
    """Whether an expression puts a text together from a text and values."""
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
