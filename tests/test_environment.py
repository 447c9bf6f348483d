"""What a record says of the machine, and whether two of them compute in the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from lmgrid.machine import cpu
from lmgrid.machine.cpu import CpuPart
from lmgrid.machine.environment import (
    LIBRARIES,
    Environment,
    capture,
    library_differences,
    why_bits_may_differ,
)
from lmgrid.spec import DevicePart
from lmgrid_torch.devices.parts import CudaPart, MpsPart

SETS = (("openblas", "Zen"), ("torch", "AVX2"))
HERE = Environment(
    "3.12.1",
    "Linux x86_64",
    "AMD EPYC",
    2,
    (("lmgrid", "0.1.0"), ("torch", "2.13.0")),
    flags="avx avx2 fma sse2",
    instruction_sets=SETS,
)
TELL = """
import json, sys
import {module}
from lmgrid.machine.cpu import CpuPart
from lmgrid_torch.devices.parts import CudaPart
print(json.dumps({{**CpuPart().instruction_sets(), **CudaPart().instruction_sets()}}))
"""


def told(module: str, **variables: str) -> dict[str, str]:
    """Return the instruction sets of a process that imported a module, with these variables."""
    command = [sys.executable, "-c", TELL.format(module=module)]
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=True, timeout=120
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


# ---------------------------------------------------------------- what is captured


def test_without_arguments_the_libraries_are_those_installed() -> None:
    """All of LIBRARIES that are there, and no instruction set."""
    found = capture()
    assert {name for name, _ in found.libraries} <= set(LIBRARIES)
    assert ("numpy", np.__version__) in found.libraries
    assert found.instruction_sets == ()


def test_with_arguments_the_libraries_are_those_given_and_lmgrid() -> None:
    """Nothing else that happens to be installed."""
    found = capture((("torch", "9.9"),), (("torch", "AVX2"), ("openblas", "Zen")))
    assert [name for name, _ in found.libraries] == ["lmgrid", "torch"]
    assert found.libraries[1] == ("torch", "9.9")
    assert found.instruction_sets == SETS  # sorted
    assert replace(found, libraries=(), instruction_sets=()) == replace(capture(), libraries=())
    assert capture((("torch", "9.9"),), SETS) is capture((("torch", "9.9"),), SETS)


def test_flags_are_sorted_words() -> None:
    """One space between two, none twice, and no path among them."""
    flags = capture().flags
    assert flags.split(" ") == sorted(set(flags.split()))
    assert "/" not in flags


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor\t: 0\nflags\t\t: sse2 fma avx\n\nprocessor\t: 1\nflags\t: b\n", "avx fma sse2"),
        ("processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n", "asimd fp"),
        ("processor\t: 0\n", ""),
        (None, ""),
    ],
    ids=["x86", "arm", "none", "no file"],
)
def test_flags_are_the_first_core_s(
    text: str | None, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As x86 and ARM write them; where the system does not say, they are left empty."""
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cpu.flags.__wrapped__() == flags


# ---------------------------------------------------------------- instruction sets


def test_the_blas_is_what_threadpoolctl_says() -> None:
    """Each library that tells its architecture, by its name."""
    said = {(p["internal_api"], p["architecture"]) for p in threadpool_info() if p.get("version")}
    found = CpuPart().instruction_sets()
    assert all(architecture in found[name].split() for name, architecture in said)


def test_a_library_that_is_not_imported_is_not_there() -> None:
    """Nor is it imported to ask it; a device part says nothing by itself."""

    class Silent(DevicePart):
        """Options of no device."""

        def make(self) -> cpu.Processor:
            return cpu.Processor()

    assert told("json") == {}
    assert "torch" not in told("numpy")
    assert Silent().instruction_sets() == {}


def test_numpy_tells_what_it_dispatches_to() -> None:
    """A feature that is switched off is gone."""
    features = CpuPart().instruction_sets()["numpy"].split()
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    dispatched = list(simd.get("found", []))
    assert features == [*simd["baseline"], *dispatched]
    if dispatched:
        without = told("numpy", NPY_DISABLE_CPU_FEATURES=" ".join(dispatched))["numpy"].split()
        assert without == simd["baseline"]


def test_torch_s_devices_tell_of_torch() -> None:
    """Both device parts, once torch is imported."""
    torch = pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    found = CudaPart().instruction_sets()
    assert found["torch"] == torch.backends.cpu.get_cpu_capability()
    assert MpsPart().instruction_sets() == found


def test_another_capability_of_torch_shows() -> None:
    """So do the variables that limit oneDNN and MKL; a value that may be a path does not."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    variables = {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "/home/me"}
    found = told("torch", ATEN_CPU_CAPABILITY="default", **variables)
    assert found["torch"] in ("DEFAULT", "NO AVX")
    assert found["onednn"] == "ONEDNN_MAX_CPU_ISA=SSE41"
    assert found["mkl"].endswith("MKL_CBWR=?")


# ---------------------------------------------------------------- the same bits


def test_the_same_environment_gives_the_same_bits() -> None:
    """Python, cores and the system's name compute nothing."""
    assert why_bits_may_differ(HERE, HERE) == ""
    assert why_bits_may_differ(HERE, replace(HERE, python="3.11.7", cores=64)) == ""
    assert library_differences(HERE, HERE.libraries) == ()


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        ({"processor": "Intel(R) Xeon(R)"}, "recorded on Intel(R) Xeon(R), here AMD EPYC"),
        (
            {"libraries": (("lmgrid", "0.1.0"), ("torch", "2.4.0"))},
            "recorded with torch 2.4.0, here 2.13.0",
        ),
        ({"libraries": (("lmgrid", "0.1.0"),)}, "recorded without torch, here 2.13.0"),
        (
            {"libraries": (*HERE.libraries, ("scipy", "1.17"))},
            "recorded with scipy 1.17, here without it",
        ),
        (
            {"instruction_sets": (("openblas", "SkylakeX"), ("torch", "AVX2"))},
            "recorded with openblas SkylakeX, here Zen",
        ),
        ({"instruction_sets": ()}, "the record does not say which instruction sets were used"),
        ({"flags": ""}, "the record does not say which instruction sets were used"),
        (
            {"flags": "a avx avx2 b c d fma sse2"},
            "recorded on a processor with a b c …, here without",
        ),
        ({"flags": "avx avx2 sse2"}, "recorded on a processor without fma, here with"),
        ({"accelerator": "NVIDIA H100"}, "recorded on NVIDIA H100, here the processor alone"),
    ],
)
def test_the_first_difference_is_told(recorded: dict[str, str], why: str) -> None:
    """One short reason, as the record and this machine have it."""
    assert why_bits_may_differ(replace(HERE, **recorded), HERE) == why  # type: ignore[arg-type]


def test_it_is_told_where_this_machine_does_not_say() -> None:
    """What is not known is no sameness."""
    why = "it is not known which instruction sets are used here"
    assert why_bits_may_differ(HERE, replace(HERE, instruction_sets=())) == why


def test_unlike_libraries_are_told_each() -> None:
    """And nothing else that differs."""
    other = replace(HERE, processor="x", libraries=(("lmgrid", "0.2"), ("torch", "2.4.0")))
    assert library_differences(other, HERE.libraries) == ("recorded with torch 2.4.0, here 2.13.0",)


def test_an_older_record_names_few_libraries() -> None:
    """What it does not name is not known, nor whether it used what it names: only versions tell."""
    older = replace(HERE, flags="", libraries=(("scipy", "1.0"), ("torch", "2.13.0")))
    assert library_differences(older, (("numpy", "2.0"), ("torch", "2.13.0"))) == ()
    assert library_differences(older, (("torch", "2.14.0"),)) != ()
    assert library_differences(HERE, (("numpy", "2.0"), ("torch", "2.13.0"))) == (
        "recorded without numpy, here 2.0",
    )
