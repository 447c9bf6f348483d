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
TRICKY_DIGEST = "5c9445dc16388ff7405a42cc34c5c8f1"
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
        "try:\n    import a as m\nexcept E:\n    import b as m\nm.f()\n",
        "try:\n    import a as n\nexcept E:\n    import b as n\nn.f()\n",
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
    assert [(one.name, one.late) for one in found] == [("b.x", True), ("a.x", False)]


def test_a_module_says_what_it_hands_on() -> None:
    """A name that an import alone binds, and pairs of strings in a dictionary."""
    found = means("from .a import b as c\nfrom d import e\ne = 1\nLATE = {'x': 'p.q'}\n")
    assert [(bound, one.name, one.level) for bound, one in found.exports] == [("c", "a.b", 1)]
    assert found.lazy == (("x", "p.q"),)


@pytest.mark.parametrize(
    "call",
    [
        "importlib.import_module(name)",
        "__import__(name)",
        "importlib.import_module('.a', package)",
        "importlib.import_module",
        "importlib.util.spec_from_file_location('a', path)",
    ],
)
def test_a_computed_name_is_reported_with_its_line(call: str) -> None:
    """The text is shown, so that its author finds the place."""
    (found,) = means(f"import importlib.util\n\nf({call})\n").unresolved
    assert found.line == 3
    assert found.text in call


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
