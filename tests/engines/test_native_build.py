"""The build: forbidden flags are noticed, sanitizers stay silent, no compiler is no obstacle.

Each test builds with CMake in a folder of its own. The tests of test_exact_engine.py and
test_exact_misuse.py, run in a process of their own, judge the module that was built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, skip_or_fail
from native_build import build, can_build, run

ABOUT = """
import importlib.util as u
spec = u.spec_from_file_location('_native', {path!r})
m = u.module_from_spec(spec)
spec.loader.exec_module(m)
print(m.about()['isa'])
"""

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("tools")]


@pytest.fixture
def tools() -> None:
    if not can_build():
        skip_or_fail("native", "building needs cmake, a C++ compiler and nanobind")


def judge(module: Path, choice: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The tests of the exact engine whose names match `choice`, on that module."""
    return run(
        sys.executable, "-m", "pytest", "-q", "-x", "-s", "-p", "no:cacheprovider",
        "-m", "not soak and not proof", "-k", choice,
        *(ROOT / "tests" / "engines" / f"test_exact_{part}.py" for part in ("engine", "misuse")),
        MICROGPT_TEST_NATIVE=str(module), **environment,
    )  # fmt: skip


@pytest.mark.parametrize("flag", ["-ffp-contract=fast", "-ffast-math"])
def test_a_build_that_fuses_or_reorders_is_caught_by_the_recorded_runs(
    tmp_path: Path, flag: str
) -> None:
    module = build(tmp_path, "-DMICROGPT_ISAS=avx2", f"-DMICROGPT_UNSAFE_FLAGS={flag}")
    if "avx2" not in run(sys.executable, "-c", ABOUT.format(path=str(module))).stdout:
        pytest.skip("this processor has no FMA, so there is nothing to fuse")
    verdict = judge(module, "recorded_run and two-layers and avx2")
    assert verdict.returncode == 1, verdict.stdout + verdict.stderr
    assert "of step" in verdict.stdout or "after step" in verdict.stdout, verdict.stdout


def test_the_engines_own_tests_pass_under_address_and_undefined_behaviour_sanitizers(
    tmp_path: Path,
) -> None:
    libraries = []
    for name in ("libasan.so", "libubsan.so"):
        path = run("c++", f"-print-file-name={name}").stdout.strip()
        if not os.path.isabs(path):
            pytest.skip(f"the compiler has no {name}")
        libraries.append(os.path.realpath(path))
    module = build(tmp_path, "-DMICROGPT_SANITIZE=address,undefined", "-DMICROGPT_ISAS=avx2")
    verdict = judge(
        module,
        "not ten_thousand and not makemore and not us-names and not huge_step and not wide_deep",
        LD_PRELOAD=":".join(libraries),
        PYTHONMALLOC="malloc",
        ASAN_OPTIONS="detect_leaks=0",  # the interpreter keeps what it has
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
        MICROGPT_TEST_EXAMPLES="15",
    )
    said = verdict.stdout + verdict.stderr
    assert verdict.returncode == 0, said
    assert "runtime error" not in said and "AddressSanitizer" not in said, said


def test_without_a_compiler_the_package_is_built_without_the_module(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    for tool in ("cmake", "ninja", "make"):
        if found := shutil.which(tool):
            (empty / tool).symlink_to(os.path.realpath(found))
    result = run("cmake", "-S", ROOT, "-B", tmp_path / "build", PATH=str(empty), CXX="")
    assert result.returncode == 0, result.stderr
    assert "no C++ compiler" in result.stderr
    assert not list((tmp_path / "build").glob("_native*"))


@pytest.mark.parametrize("isa,lanes,flags", [
    ("avx2", 4, ["-mavx2", "-mfma"]),
    ("avx512", 8, ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"]),
])  # fmt: skip
def test_vector_powers_equal_the_c_library_on_millions_of_numbers(
    tmp_path: Path, isa: str, lanes: int, flags: list[str]
) -> None:
    from microgpt import _native

    if isa not in _native.about()["isas"]:
        pytest.skip(f"this processor or build has no {isa}")
    program = tmp_path / "powers"
    compiled = run(
        "c++", "-std=gnu++20", "-O2", "-ffp-contract=off", "-fno-builtin-pow", "-fno-builtin-exp",
        "-Wno-psabi", *flags,
        f"-DMICROGPT_ISA={isa}", f"-DMICROGPT_LANES={lanes}", "-I", ROOT / "src" / "native",
        ROOT / "tests" / "native" / "powers.cpp",
        *(ROOT / "src" / "native" / f"{name}.cpp" for name in ("engine", "memory", "stop")),
        "-o", program,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    count = os.environ.get("MICROGPT_TEST_POWERS", "4000000")
    result = run(program, count)
    if _native.about()["libm"] == "system":
        pytest.skip("this C library's functions are others, so the vector forms are not in use")
    assert result.returncode == 0, result.stdout


def test_an_instruction_sets_code_cannot_be_linked_into_anothers(tmp_path: Path) -> None:
    """The linker keeps one copy of an inline function; it might be one for another processor."""
    nm = shutil.which("nm")
    if not nm:
        pytest.skip("nm is not installed")
    module = tmp_path / "isa.o"
    compiled = run(
        "c++", "-std=gnu++20", "-O2", "-Wno-psabi", "-DMICROGPT_ISA=baseline", "-DMICROGPT_LANES=2",
        "-fPIC", "-c", ROOT / "src" / "native" / "exact" / "isa.cpp", "-o", module,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    lines = run(nm, "-C", "--defined-only", module).stdout.splitlines()
    weak = [line.split(" ", 2)[2] for line in lines if line.split(" ", 2)[1] in "WwuV"]
    foreign = [
        name
        for name in weak
        if "microgpt::exact::baseline::" not in name and not name.startswith(("typeinfo", "DW.ref"))
    ]
    assert foreign == []
