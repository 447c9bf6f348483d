"""Which names of a Python file are bound by imports, scope by scope, from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

TYPING = ("typing", "typing_extensions")


@dataclass
class Import:
    """One name bound by one import statement, or a module that ``import a.b`` adds to ``a``.

    late: the statement is inside a function. block: the statements among which it stands, if a
    condition, a loop or the like decides whether they run. placed: its place in the file counts,
    since it decides what the name stands for. covered: a star import that follows may bind the name
    again.
    """

    bound: str
    name: str  # dotted, of what it stands for
    level: int = 0  # leading dots of a relative import
    late: bool = False
    whole: str = ""  # the module that ``import a.b`` names, where only ``a`` is bound
    used: bool = False
    block: Sequence[ast.AST] = ()
    placed: bool = False
    covered: bool = False

    @property
    def module(self) -> str:
        return self.whole or self.name


@dataclass(eq=False)
class Scope:
    """The names that a module, class, function or comprehension binds."""

    kind: str
    node: ast.AST
    parent: Scope | None = None
    imports: dict[str, list[Import]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)

    @property
    def late(self) -> bool:
        """Whether it is inside a function."""
        return self.kind == "function" or (self.parent is not None and self.parent.late)

    @property
    def root(self) -> Scope:
        return self if self.parent is None else self.parent.root

    def find(self, name: str) -> Sequence[Import]:
        """Return the imports that bind a name as it is seen here; none if something else does."""
        home = self.home(name)
        return home.imports.get(name, ()) if home else ()

    def home(self, name: str) -> Scope | None:
        """Return the scope that binds a name as it is seen here; None for a builtin."""
        if name in self.globals:
            return self.root
        if name in self.imports or name in self.others:
            return self
        return self._enclosing_home(name)

    def _enclosing_home(self, name: str) -> Scope | None:
        scope = self.parent
        while scope is not None:  # a method does not see the names of its class
            if scope.kind != "class":
                return scope.home(name)
            scope = scope.parent
        return None


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # fields that hold statements
LEAVES = frozenset({"ctx", "op", "ops"})
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
CAPTURES = (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
IMPORTS = (ast.Import, ast.ImportFrom)
DECLARATIONS = (ast.Global, ast.Nonlocal, ast.NamedExpr)
BINDING = (ast.Name, *DEFINITIONS, *CAPTURES, ast.MatchMapping, *IMPORTS, *DECLARATIONS)


class Scopes:
    """The scopes of a file; all are found at once, as a name may be bound after its use."""

    def __init__(self, tree: ast.Module) -> None:
        self.root = Scope("module", tree)
        self.imports: list[Import] = []
        self._of_statement: dict[int, list[Import]] = {}
        self._covered: dict[int, list[Import]] = {}  # by the star import that follows
        self._typing = _TypingNames(tree)
        self._inner: dict[int, Scope] = {}
        self._blocks = dict(self._find_blocks(tree))
        self._read(tree)
        for scope in self._inner.values():
            _hand_over(scope, scope.globals, scope.root)
            for name in scope.nonlocals:
                _hand_over(scope, {name}, scope._enclosing_home(name) or scope.root)
        for scope in (self.root, *self._inner.values()):
            _place(scope)

    def inside(self, node: ast.AST) -> Scope:
        """Return the scope that a class, function or comprehension opens."""
        return self._inner[id(node)]

    def running(self, node: ast.If) -> list[ast.stmt] | None:
        """Return the branch that runs where the other is for type checkers; else None."""
        return self._typing.running(node)

    def placed(self, node: ast.Import | ast.ImportFrom) -> list[Import]:
        """Return what a statement imports whose place counts."""
        return [one for one in self._of_statement.get(id(node), ()) if one.placed]

    def covered(self, star: ast.ImportFrom) -> list[Import]:
        """Return the imports before a star import, which may bind their names again."""
        return self._covered[id(star)]

    def _find_blocks(self, tree: ast.Module) -> Iterator[tuple[int, Sequence[ast.AST]]]:
        """Yield the import statements that may not run, each with the statements around it."""
        waiting: list[tuple[ast.AST, Sequence[ast.AST]]] = [(tree, ())]
        while waiting:
            node, block = waiting.pop()
            if isinstance(node, IMPORTS) and block:
                yield id(node), block
            elif isinstance(node, ast.If) and (running := self.running(node)) is not None:
                waiting += [(child, block) for child in running]
            else:
                for below in filter(None, (getattr(node, name, None) for name in BLOCKS)):
                    if isinstance(below, list):
                        inner = () if isinstance(node, (ast.Module, *DEFINITIONS)) else below
                        waiting += [(child, inner) for child in below]

    def _read(self, tree: ast.Module) -> None:
        waiting: list[tuple[ast.AST, Scope]] = [(tree, self.root)]
        while waiting:
            node, scope = waiting.pop()
            if isinstance(node, BINDING):
                self._bind(node, scope)
            waiting += reversed([*self._children(node, scope)])

    def _children(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
        """Yield the nodes below, each with the scope in which it is evaluated."""
        if isinstance(node, ast.If) and (running := self.running(node)) is not None:
            return ((child, scope) for child in running)
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            body = node.body if isinstance(node.body, list) else [node.body]
            return _split(node, body, scope, self._open(node, scope))
        if isinstance(node, COMPREHENSIONS):
            return self._in_comprehension(node, scope)
        if isinstance(node, ast.NamedExpr):
            return iter([(node.value, scope)])
        return ((child, scope) for child in child_nodes(node))

    def _in_comprehension(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
        """Yield its parts; what the first ``for`` runs over is evaluated outside."""
        inner = self._open(node, scope)
        first = node.generators[0]  # type: ignore[attr-defined]
        yield first.iter, scope
        for child in child_nodes(node):
            if child is not first:
                yield child, inner
        yield from ((child, inner) for child in (first.target, *first.ifs))

    def _open(self, node: ast.AST, scope: Scope) -> Scope:
        function, in_class = isinstance(node, FUNCTIONS), isinstance(node, ast.ClassDef)
        kind = "function" if function else "class" if in_class else "comprehension"
        inner = self._inner[id(node)] = Scope(kind, node, scope)
        if isinstance(node, FUNCTIONS):
            inner.others.update(_parameters(node.args))
        return inner

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Import):
            self._add(node, scope, map(_plain_import, node.names))
        elif isinstance(node, ast.ImportFrom):
            self._add(node, scope, _from_imports(node))
        elif isinstance(node, ast.Global):
            scope.globals.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            scope.nonlocals.update(node.names)
        elif isinstance(node, ast.NamedExpr):
            while scope.kind == "comprehension" and scope.parent:
                scope = scope.parent
            scope.others.add(node.target.id)
        else:
            scope.others.update(_bound_names(node))

    def _add(self, node: ast.AST, scope: Scope, found: Iterable[Import]) -> None:
        for one in found:
            one.late = scope.late
            one.block = self._blocks.get(id(node), ())
            self._of_statement.setdefault(id(node), []).append(one)
            if one.bound == "*":
                self._add_star(node, scope, one)
            else:
                self.imports.append(one)
                scope.imports.setdefault(one.bound, []).append(one)

    def _add_star(self, node: ast.AST, scope: Scope, star: Import) -> None:
        star.placed = True
        before = [one for found in scope.imports.values() for one in found]
        self._covered[id(node)] = before
        for one in before:
            one.covered = True


def child_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes right below, in the order of their text; what has no child is left out."""
    for name in node._fields:
        value = None if name in LEAVES else getattr(node, name, None)
        if isinstance(value, list):
            yield from (one for one in value if isinstance(one, ast.AST))
        elif isinstance(value, ast.AST):
            yield value


def _split(
    node: ast.AST, body: Sequence[ast.AST], outer: Scope, inner: Scope
) -> Iterator[tuple[ast.AST, Scope]]:
    inside = {id(child) for child in body}
    for child in child_nodes(node):
        yield child, inner if id(child) in inside else outer


def _hand_over(scope: Scope, names: Iterable[str], to: Scope) -> None:
    """Give what a scope binds by ``global`` or ``nonlocal`` to the scope that this means."""
    for name in names:
        if found := scope.imports.pop(name, None):
            to.imports.setdefault(name, []).extend(found)
        if name in scope.others:
            scope.others.discard(name)
            to.others.add(name)


def _place(scope: Scope) -> None:
    """Mark the imports of names for which it counts where these imports stand.

    It does where something else binds the name too, and where the import may not run.
    """
    for name, found in scope.imports.items():
        several = name in scope.others or len({(one.name, one.level) for one in found}) > 1
        if several or any(one.block and not _is_told_by_uses(one, scope) for one in found):
            for one in found:
                one.placed = True


def _is_told_by_uses(one: Import, scope: Scope) -> bool:
    """Whether a function uses a name only in the block where it is imported.

    Then the uses, which count with their places, say as much as the place of the import.
    """
    if scope.kind != "function":
        return False
    inside = sum(_count_name(node, one.bound) for node in one.block)
    return 0 < inside == _count_name(scope.node, one.bound)


def _count_name(tree: ast.AST, name: str) -> int:
    return sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def _parameters(named: ast.arguments) -> Iterator[str]:
    single = (one for one in (named.vararg, named.kwarg) if one)
    yield from (one.arg for one in (*named.posonlyargs, *named.args, *named.kwonlyargs, *single))


def _plain_import(alias: ast.alias) -> Import:
    if alias.asname:
        return Import(alias.asname, alias.name)
    top = alias.name.split(".")[0]
    return Import(top, top, whole="" if top == alias.name else alias.name)


def _from_imports(node: ast.ImportFrom) -> Iterator[Import]:
    if node.module == "__future__":
        return
    for alias in node.names:
        path = (node.module or "", "" if alias.name == "*" else alias.name)
        yield Import(alias.asname or alias.name, ".".join(filter(None, path)), node.level)


def _bound_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node binds by itself, imports and parameters apart."""
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
    elif isinstance(node, DEFINITIONS):
        yield node.name
    elif isinstance(node, CAPTURES):
        yield from filter(None, [node.name])
    elif isinstance(node, ast.MatchMapping):
        yield from filter(None, [node.rest])


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that may bind a name."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, BINDING):
            yield node
        waiting += child_nodes(node)


class _TypingNames:
    """The names by which a file knows ``typing.TYPE_CHECKING``, which is false when it runs."""

    def __init__(self, tree: ast.Module) -> None:
        self._constants: set[str] = set()
        self._modules: set[str] = set()
        nodes = [*_walk(tree)]
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module in TYPING:
                same = (a for a in node.names if a.name == "TYPE_CHECKING")
                self._constants.update(a.asname or a.name for a in same)
            elif isinstance(node, ast.Import):
                self._modules.update(a.asname or a.name for a in node.names if a.name in TYPING)
        if self._constants or self._modules:
            bound = {name for node in nodes for name in _bound_names(node)}
            self._constants -= bound
            self._modules -= bound

    def running(self, node: ast.If) -> list[ast.stmt] | None:
        test, negated = node.test, False
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test, negated = test.operand, True
        if not self._is_constant(test):
            return None
        return node.body if negated else node.orelse

    def _is_constant(self, test: ast.expr) -> bool:
        if isinstance(test, ast.Name):
            return test.id in self._constants
        return (
            isinstance(test, ast.Attribute)
            and test.attr == "TYPE_CHECKING"
            and isinstance(test.value, ast.Name)
            and test.value.id in self._modules
        )
