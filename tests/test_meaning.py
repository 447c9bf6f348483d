"""An edit that changes no meaning leaves a file's hash; one that does changes it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgrid.source import meaning
from lmgrid.source.meaning import Meaning, Reference, read

TRICKY = Path(__file__).parent / "data" / "tricky_syntax.txt"
TRICKY_DIGEST = "3e1d9f0e24e5398dc70f263ed3affaa7"
CORE = Path(meaning.__file__).parents[1]
LATE = "from __future__ import annotations\n"
INTERPRETERS = [
    path
    for name in ("3.11.7", "3.12.1", "3.13.0")
    if (path := Path.home() / ".pyenv" / "versions" / name / "bin" / "python").exists()
]
PRINT_DIGESTS = """
import sys, types
core, *files = sys.argv[1:]
package = sys.modules["lmgrid"] = types.ModuleType("lmgrid")
package.__path__ = [core]
from lmgrid.source.meaning import read
for file in files:
    print(read(open(file, "rb").read()))
"""


def means(text: str) -> Meaning:
    return read(text.encode())


def digest(text: str) -> tuple[str, tuple[Reference, ...]]:
    """Return what enters an address; what is imported for its own sake alone does so elsewhere."""
    found = means(text)
    return found.digest, tuple(one for one in found.references if one.kind != "module")


IDLE = {
    "comment": ("x = 1\n", "# why\nx = 1  # one\n"),
    "layout": ("x = f(1, 2)\n", "x = f(\n    1,\n    2,\n)\n"),
    "quotes": ("x = 'a'\n", 'x = """a"""\n'),
    "concatenated": ("x = 'ab'\n", "x = ('a'\n     'b')\n"),
    "line-ends": ("x = 1\ny = '''a\nb'''\n", "x = 1\r\ny = '''a\r\nb'''\r\n"),
    "docstring": ("def f():\n    return 1\n", "def f():\n    '''One.'''\n    return 1\n"),
    "text-in-class": ("class A:\n    x = 1\n", "class A:\n    x = 1\n    '''One.'''\n"),
    "pass": ("class A:\n    pass\n", "class A:\n    ...\n"),
    "parameters": ("def f(x, *y): pass\n", "def f(x: int, *y: str) -> None: pass\n"),
    "local": ("def f():\n    x = 1\n", "def f():\n    x: int = 1\n"),
    "module": ("x = 1\n", "x: int = 1\n"),
    "bare-local": ("def f(): pass\n", "def f():\n    x: int\n"),
    "bare-module": ("y = 1\n", "x: int\ny = 1\n"),
    "annotation's import": ("def f(x): x", "from a import B\ndef f(x: B): x"),
    "annotation in quotes": ("def f(x): x", "from a import B\ndef f(x: 'list[B]'): x"),
    "type-checking": (
        "x = 1\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nx = 1\n",
    ),
    "type-checking-module": (
        "x = 1\n",
        "import typing as t\nif t.TYPE_CHECKING:\n    import a\nelse:\n    x = 1\n",
    ),
    "not-type-checking": (
        "x = 1\n",
        "from typing import TYPE_CHECKING as T\nif not T:\n    x = 1\nelse:\n    x = 2\n",
    ),
    "future": ("x = 1\n", "from __future__ import annotations\nx = 1\n"),
    "error": ("raise E('a', f'b {c}')\n", "raise E('other', 'text')\n"),
    "error's keyword": (
        "raise E(text='a', x=1) from F('b')\n",
        "raise E(text='c', x=1) from F('')\n",
    ),
    "error-formatted": ("raise E('a %s' % b)\n", "raise E('a {}'.format(b) + 'c')\n"),
    "assert": ("assert x\n", "assert x, f'not {x}'\n"),
    "warning": (
        "import warnings as w\nw.warn('a', E, stacklevel=2)\n",
        "from warnings import warn\nwarn(f'b {1}', E, stacklevel=2)\n",
    ),
    "description": (
        "from msgspec import Meta\nfrom typing import Annotated\nS = Annotated[int, Meta(ge=1)]\n",
        "import msgspec\nimport typing as t\n"
        "S = t.Annotated[int, msgspec.Meta(ge=1, description='a', title='b', examples=[1])]\n",
    ),
    "description-alone": (
        "class A:\n    x: int = 1\n",
        "from msgspec import Meta\nfrom typing import Annotated\n"
        "class A:\n    x: Annotated[int, Meta(description='a', extra_json_schema={})] = 1\n",
    ),
    "alias": ("import numpy as np\nnp.ones(1)\n", "import numpy\nnumpy.ones(1)\n"),
    "from": ("from numpy import ones\nones(1)\n", "import numpy as np\nnp.ones(1)\n"),
    "submodule": ("import a.b.c\na.b.c.f()\n", "from a.b import c as d\nd.f()\n"),
    "order": ("import a\nimport b\na.f(b.g)\n", "import b, a\na.f(b.g)\n"),
    "plain f-string": ("x = 'ab'\n", "x = f'a' f'b'\n"),
    "alias in a branch": (
        "def f():\n    try: import a as m\n    except E: import b as m\n    m.f()\n",
        "def f():\n    try: import a as n\n    except E: import b as n\n    n.f()\n",
    ),
    "in the block that alone uses it": (
        "def f():\n    if x:\n        import a\n        a.b()\n",
        "def f():\n    import a\n    if x:\n        a.b()\n",
    ),
    "order of imports before a star": (
        "import a\nimport b\nfrom c import *\na.x, b.x\n",
        "import b\nimport a\nfrom c import *\na.x, b.x\n",
    ),
    "order of imports after a star": (
        "from c import *\nimport a\nimport b\na.x, b.x\n",
        "from c import *\nimport b as d\nimport a\na.x, d.x\n",
    ),
    "under a condition for type checkers": (
        "from typing import TYPE_CHECKING as T\nif not T:\n    import a\na.x\n",
        "import a\na.x\n",
    ),
    "alias in a global": (
        "def f():\n    global a\n    import a\ndef g():\n    a.x\n",
        "def f():\n    global b\n    import a as b\ndef g():\n    b.x\n",
    ),
}


@pytest.mark.parametrize(("one", "other"), IDLE.values(), ids=IDLE)
def test_what_changes_no_number_does_not_count(one: str, other: str) -> None:
    """Wording, layout, annotations of parameters, texts of errors, names of imports."""
    assert digest(one) == digest(other)


COUNTS = {
    "number": ("x = 1\n", "x = 2\n"),
    "type": ("x = 1\n", "x = 1.0\n"),
    "truth": ("x = 1\n", "x = True\n"),
    "sign of zero": ("x = 0.0\n", "x = -0.0\n"),
    "text": ("x = 'a'\n", "x = 'b'\n"),
    "bytes": ("x = 'a'\n", "x = b'a'\n"),
    "text in a call": ("f('a')\n", "f('b')\n"),
    "returned ellipsis": ("def f(): return ...\n", "def f(): return\n"),
    "operator": ("x = a + b\n", "x = a - b\n"),
    "grouping": ("x = a - (b - c)\n", "x = a - b - c\n"),
    "order of statements": ("f()\ng()\n", "g()\nf()\n"),
    "indentation": ("if a:\n    f()\n    g()\n", "if a:\n    f()\ng()\n"),
    "branch": ("if a:\n    f()\nelse:\n    pass\n", "if a:\n    pass\nelse:\n    f()\n"),
    "default": ("def f(x=1): pass\n", "def f(x=2): pass\n"),
    "keyword-only": ("def f(x): pass\n", "def f(*, x): pass\n"),
    "decorator": ("def f(): pass\n", "@g\ndef f(): pass\n"),
    "async": ("def f(): pass\n", "async def f(): pass\n"),
    "option's type": ("class A:\n    x: int = 1\n", "class A:\n    x: float = 1\n"),
    "option": ("class A:\n    x: int\n", "class A:\n    y: int\n"),
    "option without default": ("class A:\n    x: int\n", "class A:\n    pass\n"),
    "option's bound": (
        "from msgspec import Meta\nfrom typing import Annotated\nS = Annotated[int, Meta(ge=1)]\n",
        "from msgspec import Meta\nfrom typing import Annotated\nS = Annotated[int, Meta(ge=2)]\n",
    ),
    "another Meta": (
        "from a import Meta\nx = Meta(description='a')\n",
        "from a import Meta\nx = Meta(description='b')\n",
    ),
    "own TYPE_CHECKING": (
        "TYPE_CHECKING = f()\nif TYPE_CHECKING:\n    x = 1\n",
        "TYPE_CHECKING = f()\nif TYPE_CHECKING:\n    x = 2\n",
    ),
    "else of type-checking": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 0\nelse:\n    x = 1\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 0\nelse:\n    x = 2\n",
    ),
    "kind of error": ("raise A('a')\n", "raise B('a')\n"),
    "number of an error": ("raise A(1)\n", "raise A(2)\n"),
    "assertion": ("assert x\n", "assert y\n"),
    "another warn": ("warn('a')\n", "warn('b')\n"),
    "imported name": ("from a import b\nb()\n", "from a import c as b\nb()\n"),
    "module": ("import a as m\nm.f()\n", "import b as m\nm.f()\n"),
    "level": ("from . import a\na()\n", "from .. import a\na()\n"),
    "attribute": ("import a\na.f()\n", "import a\na.g()\n"),
    "which import": ("import a, b\na.f(b.f)\n", "import a, b\nb.f(a.f)\n"),
    "order of branches": (
        "try:\n    import a as m\nexcept E:\n    import b as m\nm.f()\n",
        "try:\n    import b as m\nexcept E:\n    import a as m\nm.f()\n",
    ),
    "condition of an import": (
        "F = 0\nfrom a import x\nif F:\n    from b import x\nx()\n",
        "F = 0\nif F:\n    from a import x\nfrom b import x\nx()\n",
    ),
    "branch of an import": (
        "if F:\n    from a import x\nx()\n",
        "if F:\n    pass\nelse:\n    from a import x\nx()\n",
    ),
    "branch of an import for its effect": (
        "def f():\n    if F:\n        import a\n",
        "def f():\n    import a\n",
    ),
    "branch of an import in a function": (
        "def f():\n    for y in z:\n        import a\n    a.x()\n",
        "def f():\n    import a\n    for y in z:\n        pass\n    a.x()\n",
    ),
    "case of an import": (
        "match y:\n    case 1:\n        import a\n    case _:\n        pass\n",
        "match y:\n    case 1:\n        pass\n    case _:\n        import a\n",
    ),
    "part of a try": (
        "try:\n    f()\n    import a\nfinally:\n    g()\n",
        "try:\n    f()\nfinally:\n    import a\n    g()\n",
    ),
    "order of imports of one name": (
        "from a import x\nfrom b import x\nx()\n",
        "from b import x\nfrom a import x\nx()\n",
    ),
    "use between imports of one name": (
        "from a import x\nx()\nfrom b import x\n",
        "from a import x\nfrom b import x\nx()\n",
    ),
    "definition of an imported name": (
        "from a import x\ndef x(): pass\nx()\n",
        "def x(): pass\nfrom a import x\nx()\n",
    ),
    "definitions of imported names": (
        "try:\n    from a import x, y\nexcept E:\n    def x(): 1\n    def y(): 2\ny()\n",
        "try:\n    from a import x as y, y as x\nexcept E:\n    def x(): 1\n    def y(): 2\nx()\n",
    ),
    "which of two names from branches": (
        "def f():\n    if F: import a as m, a as n\n    if G: import b as m\n"
        "    if H: import b as n\n    m.x(n.x)\n",
        "def f():\n    if F: import a as m, a as n\n    if G: import b as m\n"
        "    if H: import b as n\n    n.x(m.x)\n",
    ),
    "names handed on from a branch": (
        "if F:\n    from a import x as m, y as n\nm, n\n",
        "if F:\n    from a import x as n, y as m\nn, m\n",
    ),
    "submodule in a branch": (
        "import a\nif F:\n    import a.b\na.x()\n",
        "import a\nif F:\n    import a.c\na.x()\n",
    ),
    "order of stars": ("from a import *\nfrom b import *\n", "from b import *\nfrom a import *\n"),
    "star after an import": (
        "from a import x\nfrom b import *\nx()\n",
        "from b import *\nfrom a import x\nx()\n",
    ),
    "name that a star may bind again": (
        "from a import x as m\nfrom b import *\nm()\n",
        "from a import x as n\nfrom b import *\nn()\n",
    ),
    "star after a definition": (
        "def x(): pass\nfrom a import *\n",
        "from a import *\ndef x(): pass\n",
    ),
    "branch of a star": ("if F:\n    from a import *\n", "if F:\n    pass\nfrom a import *\n"),
    "choice in an error": ("raise E(x.best(mode='min'))\n", "raise E(x.best(mode='max'))\n"),
    "argument of a call in an error": ("raise E(f('a'))\n", "raise E(f('b'))\n"),
    "which error": ("raise ERRORS['a']\n", "raise ERRORS['b']\n"),
    "which error with a text": ("raise ERRORS['a']('text')\n", "raise ERRORS['b']('text')\n"),
    "which error of a cause": ("raise E from F['a']\n", "raise E from F['b']\n"),
    "imported error": (
        "from importlib import import_module as i\nraise i('a')\n",
        "from importlib import import_module as i\nraise i('b')\n",
    ),
    "choice in a warning": (
        "from warnings import warn\nwarn(f(mode='a'))\n",
        "from warnings import warn\nwarn(f(mode='b'))\n",
    ),
    "code in a text": ("exec('x = 1')\n", "exec('x = 2')\n"),
    "shadowed": ("import a\ndef f(b): return a\n", "import a\ndef f(a): return a\n"),
    "shadowed in a comprehension": (
        "import a\nx = [a for b in c]\n",
        "import a\nx = [a for a in c]\n",
    ),
    "name handed on": ("from a import b\n", "from a import b as c\n"),
    "imported for its effect": ("x = 1\n", "import a\nx = 1\n"),
    "star": ("x = 1\n", "from a import *\nx = 1\n"),
    "f-string's value": ("x = f'{a}'\n", "x = f'{b}'\n"),
    "f-string's text": ("x = f'a{a}'\n", "x = f'b{a}'\n"),
    "f-string's place": ("x = f'a{b}'\n", "x = f'{b}a'\n"),
    "f-string's format": ("x = f'{a:.1f}'\n", "x = f'{a:.2f}'\n"),
    "f-string's conversion": ("x = f'{a!r}'\n", "x = f'{a!s}'\n"),
    "module in a string": ("x = 'a.b'\n", "x = 'a.c'\n"),
    "not in a class's method": (
        "import a\nclass C:\n    a = 1\n    def f(self): return a\n",
        "import b\nclass C:\n    a = 1\n    def f(self): return a\n",
    ),
}


@pytest.mark.parametrize(("one", "other"), COUNTS.values(), ids=COUNTS)
def test_what_may_change_a_number_counts(one: str, other: str) -> None:
    """Constants, operators, options, branches, and what imported names stand for."""
    assert digest(one) != digest(other)


CONSTANTS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()
)


@settings(max_examples=50)
@given(CONSTANTS, CONSTANTS)
def test_constants_are_equal_only_if_they_are_written_alike(one: object, other: object) -> None:
    """Also long ones, odd characters and signs of zero."""
    same = repr(one) == repr(other)
    assert (digest(f"x = {one!r}") == digest(f"x = {other!r}")) == same


@settings(max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_imports_does_not_count(used: Sequence[int], chance: object) -> None:
    """Nor their names; the order of their use does."""
    numbers = sorted(set(used))
    uses = "".join(f"f(m{i}.x)\n" for i in used)
    renamed = "".join(f"f(n{i}.x)\n" for i in used)
    imports = [f"import a{i} as m{i}\n" for i in numbers]
    others = [f"import a{i} as n{i}\n" for i in reversed(numbers)]
    assert digest("".join(imports) + uses) == digest("".join(others) + renamed)


def test_another_layout_means_the_same() -> None:
    """The tree is written anew: other quotes, line breaks and parentheses, no comments."""
    text = TRICKY.read_text("utf-8")
    assert digest(ast.unparse(ast.parse(text))) == digest(text)


# ---------------------------------------------------------------- what is referred to


def names(text: str, kind: str = "import") -> list[str]:
    return ["." * r.level + r.name for r in means(text).references if r.kind == kind]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a.b.c\na.b.c.f(a.b.g)\n", ["a.b.c.f", "a.b.g"]),
        ("from ..a import b as c\nc.d\n", ["..a.b.d"]),
        ("from . import b\nb.d\n", [".b.d"]),
        ("import a\ndef f():\n    import b as a\n    a.x\na.y\n", ["b.x", "a.y"]),
        ("try:\n    import a as m\nexcept E:\n    m = None\nm.x\n", ["a", "a.x"]),
        ("from importlib import import_module\nimport_module('a.b')\n", ["a.b"]),
        ("import importlib as i\ni.import_module('..a', __package__)\n", ["..a"]),
        ("import importlib as i\ni.import_module('..a', 'b.c')\n", ["b.a"]),
        ("import importlib as i\ni.import_module(f'{__package__}.a')\n", [".a"]),
        ("import importlib as i\ni.import_module(name=__name__ + '.a')\n", [".a"]),
        ("x = __import__('a.b')\n", ["a.b"]),
        ("from pkgutil import resolve_name\nresolve_name('a.b:c.d')\n", ["a.b.c.d"]),
        ("import pkgutil as p\np.resolve_name('a')\n", ["a"]),
    ],
)
def test_imports_are_listed_by_what_they_reach(text: str, expected: list[str]) -> None:
    """Below a dotted name, in a function, in branches, and by a call with a literal."""
    assert names(text) == expected
    assert means(text).unresolved == ()


def test_strings_that_may_name_modules_are_listed() -> None:
    """Whether they do is for the environment to say; other strings count as they are."""
    assert names("x = ['a.b', 'a b', 'a', 'a..b', '1.5', 'a.b:c']\n", "string") == ["a.b"]
    assert names("raise E('a.b')\n", "string") == []


def test_what_a_function_imports_is_marked_late() -> None:
    """So that a package's ``__init__`` can be taken without it."""
    found = means("import a\ndef f():\n    import b\n    b.x, a.x\n").references
    assert [(one.name, one.in_function) for one in found] == [("b.x", True), ("a.x", False)]


def test_a_module_says_what_it_hands_on() -> None:
    """A name that an import alone binds, and pairs of strings in a dictionary."""
    found = means("from .a import b as c\nfrom d import e\ne = 1\nLATE = {'x': 'p.q'}\n")
    assert [(bound, one.name, one.level) for bound, one in found.exports] == [("c", "a.b", 1)]
    assert found.lazy == (("x", "p.q"),)


@pytest.mark.parametrize("text", ["if F: from a import x", "from a import x\nfrom b import *"])
def test_a_module_hands_on_no_name_that_may_be_another(text: str) -> None:
    """Whoever imports it needs the whole module."""
    assert means(text).exports == ()


@pytest.mark.parametrize(
    "call",
    [
        "importlib.import_module(name)",
        "__import__(name)",
        "importlib.import_module('.a', package)",
        "importlib.import_module",
        "importlib.util.spec_from_file_location('a', path)",
        "getattr(importlib, 'import_module')",
        "getattr(importlib, name)",
        "pkgutil.resolve_name(f'a:{name}')",
        "pkgutil.resolve_name",
        "exec(path.read_text())",
        "exec(f'x = {name}')",
        "exec('import a')",
        "eval(name)",
        "map(eval, names)",
        "exec(compile('x', 'y', 'exec'))",
        "builtins.exec(code)",
    ],
)
def test_a_computed_name_is_reported_with_its_line(call: str) -> None:
    """The text is shown, so that its author finds the place."""
    imports = "import builtins, importlib.util, pkgutil"
    (found,) = means(f"{imports}\n\nf({call})\n").unresolved
    assert found.line == 3
    assert found.text in call


@pytest.mark.parametrize(
    "text",
    [
        "exec('x = 1')",
        "eval('1', {})",
        "model.eval(x)",
        "import torch\ntorch.compile(model)",
        "import re\nre.compile(x)",
        "def f(compile, getattr): compile(getattr(x, 'y'))",
        "getattr(x, name)",
        "import numpy\ngetattr(numpy, name)",
        "import importlib\ngetattr(importlib, 'reload')",
        "raise E(eval)\ndef eval(): pass",
    ],
)
def test_what_can_be_told_from_the_file_is_not_reported(text: str) -> None:
    """Nor what only bears a like name."""
    assert means(text).unresolved == ()


@pytest.mark.parametrize(
    "text", ["raise eval(x + 'a')", "raise getattr(importlib, 'import_module')"]
)
def test_what_is_raised_is_reported_too(text: str) -> None:
    """A text that is run there is none of an error."""
    (found,) = means(f"import importlib\n{text}\n").unresolved
    assert found.text in text


# ---------------------------------------------------------------- every Python alike


def test_the_digest_of_tricky_syntax_is_the_same_on_every_python() -> None:
    """CI runs this law on each version."""
    assert read(TRICKY.read_bytes()).digest == TRICKY_DIGEST


@pytest.mark.skipif(len(INTERPRETERS) < 2, reason="there is only one Python")
def test_every_python_reads_the_same() -> None:
    """Digests, references and places of a part of the product, by each interpreter here."""
    files = [TRICKY, *sorted(CORE.glob("[c-m]*/*.py"))]
    arguments = ["-c", PRINT_DIGESTS, str(CORE), *map(str, files)]
    started = [
        subprocess.Popen([path, "-I", *arguments], stdout=subprocess.PIPE, text=True)
        for path in (Path(sys.executable), *INTERPRETERS)
    ]
    printed = [process.communicate(timeout=100)[0] for process in started]
    assert printed[0].count("\n") == len(files)
    assert len(set(printed)) == 1


def test_a_file_that_cannot_be_parsed_counts_by_its_bytes() -> None:
    """Nothing is known of what it imports."""
    assert means("x = (\n") == Meaning(means("x = (\n").digest)
    assert means("x = (\n").digest != means("x = [\n").digest


def test_a_long_sum_is_no_limit() -> None:
    """What is written is not limited by the depth of Python's stack."""
    terms = 700
    assert digest("x = " + " + ".join(["a"] * terms)) != digest("x = " + " + ".join(["a"] * 699))
