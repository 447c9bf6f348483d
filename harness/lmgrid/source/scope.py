"""Resolves names of a Python file: which import binds a name, scope by scope."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

TYPING = ("typing", "typing_extensions")


@dataclass
class Import:
    """A name that an import statement binds, or the submodule that ``import a.b`` adds to ``a``."""

    bound: str  # the name
    name: str  # dotted, of what the name stands for
    level: int = 0  # leading dots of a relative import
    in_function: bool = False  # the statement is inside a function
    submodule: str = ""  # ``a.b`` of ``import a.b``, which binds only ``a``
    used: bool = False
    # The statements around it, if a condition or a loop decides whether they run.
    block: Sequence[ast.AST] = ()
    position_counts: bool = False  # its position in the file decides what the name stands for
    before_star: bool = False  # a star import follows, which may bind the name again

    @property
    def module(self) -> str:
        """The dotted name of the module that is imported, or of the imported name."""
        return self.submodule or self.name


@dataclass(eq=False)
class Scope:
    """The names that a module, class, function or comprehension binds."""

    kind: str  # "module", "class", "function" or "comprehension"
    node: ast.AST
    parent: Scope | None = None
    imports: dict[str, list[Import]] = field(default_factory=dict)  # by bound name
    others: set[str] = field(default_factory=set)  # names that are bound otherwise
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)

    @property
    def in_function(self) -> bool:
        """Whether it is a function or inside one."""
        return self.kind == "function" or (self.parent is not None and self.parent.in_function)

    @property
    def root(self) -> Scope:
        """The scope of the module."""
        return self if self.parent is None else self.parent.root

    def find(self, name: str) -> Sequence[Import]:
        """Return the imports that bind a name that is used here; empty if something else does."""
        scope = self.binding_scope(name)
        return scope.imports.get(name, ()) if scope else ()

    def binding_scope(self, name: str) -> Scope | None:
        """Return the scope that binds a name that is used here; None for a builtin."""
        if name in self.globals:
            return self.root
        if name in self.imports or name in self.others:
            return self
        return self._enclosing_scope(name)

    def _enclosing_scope(self, name: str) -> Scope | None:
        scope = self.parent
        while scope is not None:  # the names of a class are not visible in its methods
            if scope.kind != "class":
                return scope.binding_scope(name)
            scope = scope.parent
        return None


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # fields that hold statements
LEAVES = frozenset({"ctx", "op", "ops"})  # fields that hold nodes without children
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
CAPTURES = (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
IMPORTS = (ast.Import, ast.ImportFrom)
DECLARATIONS = (ast.Global, ast.Nonlocal, ast.NamedExpr)
BINDING = (ast.Name, *DEFINITIONS, *CAPTURES, ast.MatchMapping, *IMPORTS, *DECLARATIONS)


class Scopes:
    """The scopes of a file. All are found at once, since a name may be bound after its use."""

    def __init__(self, tree: ast.Module) -> None:
        self.root = Scope("module", tree)
        self.imports: list[Import] = []
        self._of_statement: dict[int, list[Import]] = {}  # by id of the statement
        self._before_star: dict[int, list[Import]] = {}  # by id of the star import
        self._typing = _TypingNames(tree)
        self._inner: dict[int, Scope] = {}  # by id of the node that opens it
        self._blocks = dict(self._find_blocks(tree))
        self._collect(tree)
        # Move what scopes bind by ``global`` and ``nonlocal`` to the scopes that these mean.
        for scope in self._inner.values():
            _move_names(scope, scope.globals, scope.root)
            for name in scope.nonlocals:
                _move_names(scope, {name}, scope._enclosing_scope(name) or scope.root)
        # Decide which imports have positions that count.
        for scope in (self.root, *self._inner.values()):
            _mark_positions(scope)

    def opened_by(self, node: ast.AST) -> Scope:
        """Return the scope that a class, function or comprehension opens."""
        return self._inner[id(node)]

    def runtime_branch(self, node: ast.If) -> list[ast.stmt] | None:
        """Return the branch that runs if the other one is for type checkers; else None."""
        return self._typing.runtime_branch(node)

    def positioned(self, node: ast.Import | ast.ImportFrom) -> list[Import]:
        """Return those imports of a statement whose position counts."""
        return [one for one in self._of_statement.get(id(node), ()) if one.position_counts]

    def before_star(self, star: ast.ImportFrom) -> list[Import]:
        """Return the imports before a star import, which may bind their names again."""
        return self._before_star[id(star)]

    def _find_blocks(self, tree: ast.Module) -> Iterator[tuple[int, Sequence[ast.AST]]]:
        """Yield the id of each import statement that may not run, and the statements around it."""
        waiting: list[tuple[ast.AST, Sequence[ast.AST]]] = [(tree, ())]
        while waiting:
            node, block = waiting.pop()
            if isinstance(node, IMPORTS) and block:
                yield id(node), block
            elif isinstance(node, ast.If) and (branch := self.runtime_branch(node)) is not None:
                waiting += [(child, block) for child in branch]
            else:
                for below in filter(None, (getattr(node, name, None) for name in BLOCKS)):
                    if isinstance(below, list):
                        inner = () if isinstance(node, (ast.Module, *DEFINITIONS)) else below
                        waiting += [(child, inner) for child in below]

    def _collect(self, tree: ast.Module) -> None:
        waiting: list[tuple[ast.AST, Scope]] = [(tree, self.root)]
        while waiting:
            node, scope = waiting.pop()
            if isinstance(node, BINDING):
                self._bind(node, scope)
            waiting += reversed([*self._children(node, scope)])

    def _children(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
        """Yield the nodes below, each with the scope in which it is evaluated."""
        if isinstance(node, ast.If) and (branch := self.runtime_branch(node)) is not None:
            return ((child, scope) for child in branch)
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            body = node.body if isinstance(node.body, list) else [node.body]
            return _split(node, body, scope, self._open(node, scope))
        if isinstance(node, COMPREHENSIONS):
            return self._in_comprehension(node, scope)
        if isinstance(node, ast.NamedExpr):
            return iter([(node.value, scope)])
        return ((child, scope) for child in child_nodes(node))

    def _in_comprehension(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
        """Yield the nodes below; the iterable of the first ``for`` is evaluated outside."""
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
            one.in_function = scope.in_function
            one.block = self._blocks.get(id(node), ())
            self._of_statement.setdefault(id(node), []).append(one)
            if one.bound == "*":
                self._add_star(node, scope, one)
            else:
                self.imports.append(one)
                scope.imports.setdefault(one.bound, []).append(one)

    def _add_star(self, node: ast.AST, scope: Scope, star: Import) -> None:
        star.position_counts = True
        before = [one for found in scope.imports.values() for one in found]
        self._before_star[id(node)] = before
        for one in before:
            one.before_star = True


def child_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the children of a node in the order of the text, without operators and contexts."""
    for name in node._fields:
        value = None if name in LEAVES else getattr(node, name, None)
        if isinstance(value, list):
            yield from (one for one in value if isinstance(one, ast.AST))
        elif isinstance(value, ast.AST):
            yield value


def _split(
    node: ast.AST, body: Sequence[ast.AST], outer: Scope, inner: Scope
) -> Iterator[tuple[ast.AST, Scope]]:
    """Yield the children of a node: those of the body in the inner scope, others in the outer."""
    inside = {id(child) for child in body}
    for child in child_nodes(node):
        yield child, inner if id(child) in inside else outer


def _move_names(scope: Scope, names: Iterable[str], to: Scope) -> None:
    """Move the bindings of names that a scope declares global or nonlocal to the scope meant."""
    for name in names:
        if found := scope.imports.pop(name, None):
            to.imports.setdefault(name, []).extend(found)
        if name in scope.others:
            scope.others.discard(name)
            to.others.add(name)


def _mark_positions(scope: Scope) -> None:
    """Mark the imports whose position in the file counts.

    It counts if something else binds the name too, or if the import may not run.
    """
    for name, found in scope.imports.items():
        several = name in scope.others or len({(one.name, one.level) for one in found}) > 1
        if several or any(one.block and not _is_implied_by_uses(one, scope) for one in found):
            for one in found:
                one.position_counts = True


def _is_implied_by_uses(one: Import, scope: Scope) -> bool:
    """Return whether a function uses a name only in the block where it is imported.

    Then the positions of the uses, which count, imply the position of the import.
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
    return Import(top, top, submodule="" if top == alias.name else alias.name)


def _from_imports(node: ast.ImportFrom) -> Iterator[Import]:
    if node.module == "__future__":
        return
    for alias in node.names:
        path = (node.module or "", "" if alias.name == "*" else alias.name)
        yield Import(alias.asname or alias.name, ".".join(filter(None, path)), node.level)


def _bound_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node itself binds, other than by imports and parameters."""
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
    elif isinstance(node, DEFINITIONS):
        yield node.name
    elif isinstance(node, CAPTURES):
        yield from filter(None, [node.name])
    elif isinstance(node, ast.MatchMapping):
        yield from filter(None, [node.rest])


def _binding_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that may bind a name."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, BINDING):
            yield node
        waiting += child_nodes(node)


class _TypingNames:
    """The names that a file has for ``typing.TYPE_CHECKING``, which is false at run time."""

    def __init__(self, tree: ast.Module) -> None:
        self._constants: set[str] = set()
        self._modules: set[str] = set()
        nodes = [*_binding_nodes(tree)]
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

    def runtime_branch(self, node: ast.If) -> list[ast.stmt] | None:
        """Return the branch that runs if the condition is TYPE_CHECKING or its negation."""
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
