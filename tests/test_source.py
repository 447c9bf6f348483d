"""Which code enters the source of a part: of ours what it imports, of a plugin everything."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from lmgrid.source import closure, installed
from lmgrid.source.closure import Source, libraries, modules, sources, unresolved, versions

Write = Callable[[str, str], None]
PART = "class Part:\n    pass\n"
RUNNER = "lmgrid.seeds"  # a small module
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n\nVersion: 9\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules below a folder on the path, as a fresh process would find them."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr("lmgrid.source.disk_cache.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("lmgrid.source.modules._known", {})
    before = set(sys.modules)

    def put(name: str, text: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        forget(before)

    yield put
    forget(before)


@pytest.fixture
def ours(write: Write, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Let packages ``own`` and ``also`` belong to the distribution of lmgrid."""
    tops = cache(lambda: frozenset({"lmgrid", "own", "also"}))
    monkeypatch.setattr(installed, "_our_import_names", tops)
    write("own/__init__.py", "")
    return write


def install(write: Write, name: str, tops: str = "", entries: str = "", version: str = "1") -> None:
    """Write the metadata of a distribution."""
    info = f"{name}-{version}.dist-info"
    write(f"{info}/METADATA", METADATA.format(name, version))
    write(f"{info}/top_level.txt", tops)
    write(f"{info}/entry_points.txt", f"[lmgrid]\n{name} = {entries}\n" if entries else "")


def forget(before: set[str]) -> None:
    for name in set(sys.modules) - before:
        del sys.modules[name]
    closure.clear_caches()


def parts(*names: str) -> list[tuple[str, type]]:
    return [(f"model {name}", import_module(name).Part) for name in names]


def digest(name: str) -> str:
    """Return the digest of a part that a module defines."""
    closure.clear_caches()
    found = {one.name: one.digest for one in sources(parts(name), RUNNER)}
    return found[f"model {name}"]


def computed(name: str) -> tuple[str, ...]:
    return unresolved(parts(name), RUNNER)


# ---------------------------------------------------------------- what comes back


def test_each_part_and_the_runner_have_one_source(write: Write) -> None:
    """Sorted by name, in whatever order parts are given."""
    write("one.py", PART)
    write("two.py", PART)
    found = sources(parts("two", "one"), RUNNER)
    assert [one.name for one in found] == ["model one", "model two", "runner"]
    assert found == sources([*parts("one", "two"), *parts("one")], RUNNER)
    assert all(isinstance(one, Source) and len(one.digest) == 32 for one in found)


def test_two_parts_of_one_module_differ(ours: Write) -> None:
    """Else a name could go from one to the other unseen."""
    ours("own/parts.py", "class Part:\n    class Inner:\n        pass\n")
    part = import_module("own.parts").Part
    one, other, _ = sources([("a", part), ("b", part.Inner)], RUNNER)
    assert one.digest != other.digest


# ---------------------------------------------------------------- of ours


@pytest.mark.parametrize(
    "text",
    [
        "from own.deep.inner import value\n",
        "import own.deep.inner as x\n",
        "from own.deep import inner\nprint(inner.value)\n",
        "from .deep.inner import value\n",
        "import own\ndef late():\n    return own.deep.inner.value\n",
        "def late():\n    from own.deep.inner import value\n",
        "import importlib\nx = importlib.import_module('own.deep.inner')\n",
        "import importlib\nx = importlib.import_module('.deep.inner', __package__)\n",
        "x = __import__('own.deep.inner')\n",
        "late = ('own.deep.inner',)\n",
        "from own.between import value\n",
        "from own.deep import handed\n",
        "from own.deep import lazy\n",
        "from own.deep.inner import *\n",
        "from also import value\n",
    ],
)
def test_what_a_module_of_ours_imports_counts(ours: Write, text: str) -> None:
    """At the top or late, by statement, call or string, and by a package that hands it on."""
    ours("own/parts.py", text + PART)
    ours("own/between.py", "from own.deep.inner import value as other\nvalue = other\n")
    ours(
        "own/deep/__init__.py",
        "from own.deep.inner import value as handed\nLATE = {'lazy': 'own.deep.inner'}\n"
        "def __getattr__(name):\n    ...\n",
    )
    ours("also/__init__.py", "from own.deep.inner import value\n")
    ours("own/deep/inner.py", "value = lazy = 1\n")
    ours("own/deep/idle.py", "value = 1\n")
    before = digest("own.parts")
    ours("own/deep/idle.py", "value = 2\n")
    assert digest("own.parts") == before
    ours("own/deep/inner.py", "value = lazy = 2\n")
    assert digest("own.parts") != before


def test_a_package_of_ours_is_not_followed_for_a_submodule(ours: Write) -> None:
    """Its ``__init__`` would bring what no number needs."""
    ours("own/parts.py", "from also.inner import value\n" + PART)
    ours("also/__init__.py", "import own.rest\nx = 1\n")
    ours("also/inner.py", "value = 1\n")
    ours("own/rest.py", "")
    before = digest("own.parts")
    ours("also/__init__.py", "import own.rest\nx = 2\n")
    assert digest("own.parts") == before
    assert modules("own.parts") == {"own.parts", "also.inner"}


def test_what_a_package_defines_counts_without_what_its_functions_import(ours: Write) -> None:
    """Whoever needs its version does not take in all that it can start."""
    ours("own/parts.py", "from also import value\n" + PART)
    ours("also/__init__.py", "import own.early\nvalue = 1\ndef f():\n    import own.late\n")
    ours("own/early.py", "")
    ours("own/late.py", "")
    assert modules("own.parts") == {"own.parts", "also", "own.early"}
    before = digest("own.parts")
    ours("also/__init__.py", "import own.early\nvalue = 2\ndef f():\n    import own.late\n")
    assert digest("own.parts") != before


def test_a_module_may_move(ours: Write, tmp_path: Path) -> None:
    """Its name and place do not count, nor how it is imported."""
    ours("own/parts.py", "from own.one import value\nprint(value)\n" + PART)
    ours("own/one.py", "from own.third import value\n")
    ours("own/third.py", "value = 1\n")
    before = digest("own.parts")
    ours("own/parts.py", "from also.deep.two import value as v\nprint(v)\n" + PART)
    ours("also/deep/two.py", "from own.third import value\n")
    assert digest("own.parts") == before


def test_a_name_that_is_handed_on_counts(ours: Write) -> None:
    """Two names that change places in a module between change what its importers get."""
    ours("own/parts.py", "from own.between import a\n" + PART)
    ours("own/below.py", "x = 1\ny = 2\n")
    ours("own/between.py", "from own.below import x as a, y as b\n")
    before = digest("own.parts")
    ours("own/between.py", "from own.below import x as b, y as a\n")
    assert digest("own.parts") != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "from .slow import x\nif F:\n    from .fast import x",
            "if F:\n    from .slow import x\nfrom .fast import x",
        ),
        ("from .slow import *\nfrom .fast import *", "from .fast import *\nfrom .slow import *"),
        ("from .slow import x\nfrom .fast import *", "from .fast import *\nfrom .slow import x"),
    ],
)
@pytest.mark.parametrize("name", ["own/between.py", "own/deep/__init__.py"])
def test_where_a_name_comes_from_counts(ours: Write, one: str, other: str, name: str) -> None:
    """A condition of an import, the order of stars, a package that hands the name on."""
    module = name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    ours("own/parts.py", f"from {module} import x\nprint(x)\n" + PART)
    for folder in ("own", "own/deep"):
        ours(f"{folder}/slow.py", "x = 1\n")
        ours(f"{folder}/fast.py", "x = 2\n")
    ours(name, f"F = False\n{one}\n")
    before = digest("own.parts")
    ours(name, f"F = False\n{other}\n")
    assert digest("own.parts") != before
    changed = digest("own.parts")
    ours(name.replace("between.py", "slow.py").replace("__init__.py", "slow.py"), "x = 3\n")
    assert digest("own.parts") != changed


def test_modules_may_import_in_a_circle(ours: Write) -> None:
    """Also names that they hand to each other."""
    ours("own/parts.py", "def late():\n    from own.one import x\n    return x\n" + PART)
    ours("own/one.py", "from own.two import x\n")
    ours("own/two.py", "from own.one import x\n")
    assert digest("own.parts")
    assert modules("own.parts") == {"own.parts", "own.one", "own.two"}


def test_an_import_for_an_annotation_does_not_count_twice(ours: Write) -> None:
    """A module that is used anyway is not changed by one more name of it."""
    ours("own/one.py", "x = y = 1\n")
    ours("own/parts.py", "from own.one import x\nprint(x)\n" + PART)
    before = digest("own.parts")
    ours("own/parts.py", "from own.one import x, y\nprint(x)\ndef f(a: y): ...\n" + PART)
    with_function = digest("own.parts")
    ours("own/parts.py", "from own.one import x\nprint(x)\ndef f(a): ...\n" + PART)
    assert digest("own.parts") == with_function != before


def test_libraries_are_named_and_do_not_count(ours: Write) -> None:
    """Those of the closure alone, with their versions; the standard library is none."""
    ours("own/parts.py", "import json\nfrom other import x\ndef f():\n    import late.y\n" + PART)
    ours("other.py", "x = 1\n")
    ours("late/__init__.py", "")
    ours("unused.py", "")
    install(ours, "Other-Name", tops="other", version="2.5")
    install(ours, "late", tops="late")
    install(ours, "unused", tops="unused")
    before = digest("own.parts")
    found = libraries(parts("own.parts"), RUNNER)
    assert found == (("Other-Name", "2.5"), ("late", "1"))
    ours("other.py", "x = 2\n")
    assert digest("own.parts") == before


# ---------------------------------------------------------------- of third parties


@pytest.fixture
def third(write: Write) -> Write:
    """A distribution of two packages with a plugin in one."""
    write("third/__init__.py", PART)
    write("third/deep/inner.py", "x = 1\n")
    write("third/data.txt", "1")
    write("beside.py", "x = 1\n")
    install(write, "third", tops="third\nbeside\n", entries="third")
    return write


@pytest.mark.parametrize(
    "edited", ["third/__init__.py", "third/deep/inner.py", "third/new.py", "beside.py"]
)
def test_every_module_of_a_plugin_counts(third: Write, edited: str) -> None:
    """Also one that the part does not import, one that is new, and another package's."""
    before = digest("third")
    third(edited, PART + "y = 2\n")
    assert digest("third") != before


def test_other_files_of_a_plugin_count_by_bytes_and_name(third: Write, tmp_path: Path) -> None:
    """Tables, libraries; not what Python compiled."""
    before = digest("third")
    third("third/__pycache__/deep.cpython-311.pyc", "x")
    assert digest("third") == before
    third("third/data.txt", "2")
    with_other_bytes = digest("third")
    (tmp_path / "path/third/data.txt").rename(tmp_path / "path/third/other.txt")
    assert len({before, with_other_bytes, digest("third")}) == 3


@pytest.mark.parametrize(
    "stray",
    [
        ".git/HEAD",
        ".ipynb_checkpoints/inner-checkpoint.py",
        ".inner.py.swp",
        "inner.py~",
        "#inner.py#",
        "__pycache__/inner.py",
        "inner.pyc",
        "inner.pyo",
        "third.egg-info/PKG-INFO",
    ],
)
def test_what_tools_leave_in_a_plugin_does_not_count(
    third: Write, stray: str, tmp_path: Path
) -> None:
    """At any depth."""
    before = digest("third")
    third(f"third/{stray}", "x = 2\n")
    third(f"third/deep/{stray}", "x = 2\n")
    (tmp_path / "path/third/.#inner.py").symlink_to("user@host.1")
    assert digest("third") == before


def test_a_linked_folder_of_a_plugin_counts(third: Write, tmp_path: Path) -> None:
    """With its modules and its other files; a link that leads nowhere by what it names."""
    third("elsewhere/table.txt", "1")
    third("elsewhere/code.py", "x = 1\n")
    digests = {digest("third")}
    (tmp_path / "path/third/linked").symlink_to(tmp_path / "path/elsewhere")
    (tmp_path / "path/elsewhere/back").symlink_to(tmp_path / "path/third")
    digests.add(digest("third"))
    third("elsewhere/table.txt", "2")
    digests.add(digest("third"))
    third("elsewhere/code.py", "x = 2\n")
    digests.add(digest("third"))
    (tmp_path / "path/third/broken.py").symlink_to("absent.py")
    digests.add(digest("third"))
    assert len(digests) == 5


def test_a_plugin_counts_with_another_that_it_imports(third: Write) -> None:
    """Whole, as far as one leads to the next; a library between does not hide it."""
    third("beside.py", "def late():\n    import fourth.inner\n")
    third("fourth/inner.py", "x = 1\n")
    third("fourth/other.py", "x = 1\n")
    install(third, "fourth", tops="fourth", entries="fourth.inner")
    before = digest("third")
    third("fourth/other.py", "x = 2\n")
    assert digest("third") != before
    assert libraries(parts("third"), RUNNER) == ()


def test_an_editable_plugin_is_found_by_its_entry_point(write: Write) -> None:
    """Where its metadata name no package: with what it imports from its folder."""
    write("third.py", "import helper, alone\n" + PART)
    write("helper.py", "x = 1\n")
    write("alone.py", "x = 1\n")
    write("idle.py", "x = 1\n")
    install(write, "third", entries="third:Part")
    install(write, "alone", tops="alone")
    write("third-1.dist-info/RECORD", "__editable__.third-1.pth,,\nthird-1.dist-info/RECORD,,\n")
    before = digest("third")
    write("idle.py", "x = 2\n")
    write("alone.py", "x = 2\n")
    assert digest("third") == before
    write("helper.py", "x = 2\n")
    assert digest("third") != before


@pytest.mark.parametrize("edited", ["mine/inner.py", "mine/data.txt", "beside.py"])
def test_a_package_of_no_distribution_counts_whole(write: Write, edited: str) -> None:
    """With what it imports from beside itself."""
    write("mine/__init__.py", PART)
    write("mine/inner.py", "import beside\n")
    write("beside.py", "")
    before = digest("mine")
    write(edited, "x = 2\n")
    assert digest("mine") != before


def test_a_script_counts_with_those_beside_it(write: Write) -> None:
    """Not with what stands in other folders."""
    write("alone.py", PART)
    write("folder/idle.py", "x = 1\n")
    before = digest("alone")
    write("folder/idle.py", "x = 2\n")
    write("note.txt", "2")
    assert digest("alone") == before
    write("neighbour.py", "x = 2\n")
    assert digest("alone") != before


def test_a_file_that_cannot_be_parsed_counts_by_its_bytes(third: Write) -> None:
    """A plugin may carry code of another version of Python."""
    third("third/old.py", "print 1\n")
    before = digest("third")
    third("third/old.py", "print 2\n")
    assert digest("third") != before


# ---------------------------------------------------------------- what cannot be followed


def test_a_computed_import_is_reported(ours: Write) -> None:
    """With the file and the line; not if the part lists what it imports."""
    late = "import importlib\ndef f(name):\n    return importlib.import_module(name)\n"
    ours("own/parts.py", late + PART)
    assert computed("own.parts") == ("own/parts.py line 3: importlib.import_module(name)",)
    ours("own/parts.py", f"{late}class Part:\n    modules = ('own.one',)\n")
    ours("own/one.py", "x = 1\n")
    assert computed("own.parts") == ()
    before = digest("own.parts")
    ours("own/one.py", "x = 2\n")
    assert digest("own.parts") != before


def test_code_that_is_no_text_is_reported(ours: Write) -> None:
    """With those that run it."""
    ours("own/parts.py", "def f(code, name):\n    exec(code)\n    return eval(name)\n" + PART)
    places = ("own/parts.py line 2: exec(code)", "own/parts.py line 3: eval(name)")
    assert computed("own.parts") == places


def test_a_part_without_a_file_is_reported(write: Write) -> None:
    """A notebook's, say."""
    part = type("Part", (), {"__module__": "nowhere"})
    assert unresolved([("model a", part)], RUNNER) == ("nowhere: a module without a file",)


def test_versions_that_matter_are_the_parts_own(write: Write) -> None:
    """A library that is not there is told apart from any version."""
    install(write, "solver", version="1.2")
    write("one.py", "class Part:\n    versions_matter = ('solver', 'absent')\n")
    write("two.py", "class Part:\n    versions_matter = ('solver',)\n")
    expected = (("absent", "not installed"), ("solver", "1.2"))
    assert versions(parts("one", "two")) == expected


# ---------------------------------------------------------------- when files are read


def test_a_forked_process_sees_an_edit_after_reading_ahead(ours: Write, tmp_path: Path) -> None:
    """What was read ahead is known by its bytes."""
    ours("own/parts.py", PART)
    before = digest("own.parts")
    closure.clear_caches()
    closure.read_ahead([import_module("own.parts").Part], [RUNNER])
    (tmp_path / "path/own/parts.py").write_text(PART + "x = 1\n")
    assert sources(parts("own.parts"), RUNNER)[0].digest != before


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_cache_changes_nothing(
    ours: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    """Nor does one that cannot be written."""
    ours("own/parts.py", "import json\njson.dumps\n" + PART)
    before = digest("own.parts")
    kept = list((tmp_path / "cache" / "meanings").iterdir())
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:-1] + b"?" if damage is None else damage)
        os.chmod(file.parent, 0o500)
    monkeypatch.setattr("lmgrid.source.modules._known", {})
    assert digest("own.parts") == before
    os.chmod(kept[0].parent, 0o700)


def test_what_a_file_means_is_read_once_a_machine(
    ours: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache folder holds it, by the file's bytes."""
    ours("own/parts.py", "import json\njson.dumps\n" + PART)
    before = digest("own.parts")
    monkeypatch.setattr("lmgrid.source.modules._known", {})
    monkeypatch.setattr("lmgrid.source.meaning.read", None)
    assert digest("own.parts") == before
