"""The caller's floating-point mode changes no bit, and the compiled engines leave it as it was.

A library built with -ffast-math makes subnormal numbers zeros in the thread that loads it; threads
and processes begin with the mode of what started them. The tests load such a library in a process
of their own. The same library changes the rounding with `fesetround`.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from typing import Any

import pytest
from conftest import need, skip_or_fail

need("microgpt._native", "native", "the compiled module was not built: no C++ compiler")

# GCC links the code that changes the mode into a library with -ffast-math, since version 13 only
# into programs. SET_MODE makes the library do the same itself.
LIBRARY = """
#include <fenv.h>
#if defined(__x86_64__)
unsigned long mode(void) { return __builtin_ia32_stmxcsr() & 0xffc0u; } /* without the flags */
static void flush(void) { __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040u); }
#elif defined(__aarch64__)
unsigned long mode(void) { unsigned long x; __asm__("mrs %0, fpcr" : "=r"(x)); return x; }
static void flush(void) { __asm__ volatile("msr fpcr, %0" ::"r"(mode() | 1ul << 24)); }
#endif
#ifdef SET_MODE
__attribute__((constructor)) static void begin(void) { flush(); }
#endif
void turn(const char *where) {
    fesetround(*where == 'u' ? FE_UPWARD : *where == 'd' ? FE_DOWNWARD : FE_TOWARDZERO);
}
"""

COMMON = """
import ctypes, hashlib, json, os, sys, threading
from array import array
from microgpt import corpus
from microgpt.config import Config, _arithmetic_is_standard
from microgpt.engines import State
from microgpt.training import Session

CONFIG = Config(n_embd=4, n_head=2, block_size=5, num_steps=12)
NAMES = ["ab", "ba", "abba", "b", "aab", "caca", "acb", "bac"]
COUNT, WAS = CONFIG.parameter_count(4), _arithmetic_is_standard()
# Every number that an engine is given, made before the mode is changed: weights, tiny moments.
GIVEN = [
    array("d", [((i * 37) % 41 - 20) / 50 for i in range(COUNT)]),
    array("d", [(1e-310, 1e-320, 0.01, -1e-42)[i % 4] for i in range(COUNT)]),
    array("d", [(3e-320, 1e-318, 1e-309, 1e-41)[i % 4] for i in range(COUNT)]),
    array("d", [(i * 61 % 100) / 100 for i in range(60)]),
]
BATCHES, RATES = [[[3, 0, 1, 3], [3, 2, 3]], [[3, 1, 1, 3]]] * 3, [0.01, 1e-310] * 3

def change(path, how):
    mode = ctypes.CDLL(path)
    if how != "flush":
        mode.turn(how.encode())
    return mode.mode

def session(engine):
    return Session.start(CONFIG, corpus.Corpus(list(NAMES), corpus.Origin()), engine)
"""

# Prints SHA-256 of all that each engine computes: in this thread, in one started before the mode
# was changed, in one started after, and in a child process.
RESULTS = (
    COMMON
    + """
from microgpt.engines import engine_class
from microgpt import _native

def flat(x):
    return array("d", [x]) if isinstance(x, (int, float)) else sum(map(flat, x), array("d"))

def state(engine):
    now = engine.state()
    return now.parameters, now.m, now.v, now.step

def everything(name, mode, **options):
    started = session(name)
    losses = [step.loss for block in started.run(lambda: False) for step in block]
    engine = engine_class(name)(CONFIG, 4, State(*GIVEN[:3], 5), **options)
    modes = [mode()]
    never = lambda: modes.append(mode()) and False
    results = [losses, *state(started.engine), *state(engine)]
    results += [*engine.gradients(BATCHES[0], never)]
    results += [engine.log_probabilities(BATCHES[0], never), *engine.trace(BATCHES[1][0], never)]
    results += [*engine.generate(5, GIVEN[3], [3], 0.7, 3, 0.9, never)]
    results += [engine.steps(BATCHES, RATES, never).losses, *state(engine)]
    try:
        engine.steps(BATCHES, RATES, lambda: modes.append(mode()) or 1 / 0)
    except ZeroDivisionError:
        pass
    # An engine in Python asks stop() in the mode that it computes in.
    assert mode() == modes[0] and (name == "scalar" or set(modes) == {modes[0]}), modes
    assert len(modes) > 5
    return hashlib.sha256(flat(results).tobytes()).hexdigest()

def all_engines(mode):
    about = mode(), _native.about(), mode()
    assert about[0] == about[2]
    runs = [("scalar", {})] + [("exact", {"isa": isa}) for isa in about[1]["isas"]]
    if hasattr(_native, "Fast"):
        runs += [("fast", {"isa": i, "threads": t}) for i in about[1]["isas"] for t in (1, 3)]
    return {f"{name} {options}": everything(name, mode, **options) for name, options in runs}

def inside(place, found, mode):
    try:
        found[place] = all_engines(mode)
    except BaseException as error:
        found[place] = repr(error)

found, changed, modes = {}, threading.Event(), []
before = threading.Thread(target=lambda: changed.wait() and inside("before", found, modes[0]))
before.start()
path, how = sys.argv[1:]
modes.append(change(path, how) if how else ctypes.CDLL(path).mode)
standard = _arithmetic_is_standard()
inside("main", found, modes[0])  # first: the module asks about the C library once a process
changed.set()
before.join()
after = threading.Thread(target=inside, args=("after", found, modes[0]))
after.start()
after.join()
end, start = os.pipe()
if not os.fork():
    child = {}
    inside("fork", child, modes[0])
    os.write(start, json.dumps(child).encode())
    os._exit(0)
os.close(start)
with open(end) as pipe:
    found |= json.loads(pipe.read())
print(json.dumps([WAS, standard, found]))
"""
)

REFUSALS = (
    COMMON
    + """
sys.modules["microgpt._native"] = None
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import ConfigError
engine = ScalarEngine(CONFIG, 4, State(*GIVEN[:3], 5))
change(*sys.argv[1:])
never = lambda: False
for call in (
    lambda: session("scalar"),
    lambda: engine.steps(BATCHES, RATES, never),
    lambda: engine.generate(5, GIVEN[3], [3], 0.7, 3, 0.9, never),
):
    try:
        call()
    except ConfigError as error:
        print(error.what, "|", error.where, "|", error.fix)
"""
)

PROBE = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(sys.float_info.min / 2)"


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(library: str, how: str) -> list[Any]:
    """What the engines compute with this library: was standard, is standard, place -> hashes."""
    found: list[Any] = json.loads(run(RESULTS, library, how))
    return found


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Way to change the mode -> library. Only that of "flush" changes it when it is loaded."""
    compiler = shutil.which("cc")
    if not compiler or sys.platform == "win32":
        skip_or_fail("native", "this test compiles a library, and there is no C compiler")
    if platform.machine() not in ("x86_64", "aarch64", "arm64"):
        pytest.skip("this processor's floating-point mode is not known")
    folder = tmp_path_factory.mktemp("library")
    (folder / "mode.c").write_text(LIBRARY)

    def compiled(name: str, *flags: str) -> str:
        arguments = [*flags, "-o", str(folder / name), str(folder / "mode.c"), "-lm"]
        subprocess.run([str(compiler), "-shared", "-fPIC", "-O2", *arguments], check=True)
        return str(folder / name)

    quiet = compiled("quiet.so")
    flush = compiled("fast-math.so", "-ffast-math")
    if float(run(PROBE, flush)):
        flush = compiled("set-mode.so", "-ffast-math", "-DSET_MODE")
    assert float(run(PROBE, flush)) == 0.0 < float(run(PROBE, quiet))
    return {"": quiet, "flush": flush, "up": quiet, "down": quiet, "zero": quiet}


@pytest.fixture(scope="module")
def clean(libraries: dict[str, str]) -> dict[str, str]:
    """What each engine computes where nothing has changed the mode."""
    was, standard, found = results(libraries[""], "")
    assert was and standard
    assert isinstance(found["main"], dict), found["main"]
    hashes: dict[str, str] = found["main"]
    return hashes


@pytest.mark.parametrize("how", ["flush", "up", "down", "zero"])
def test_every_engine_gives_the_same_bits_in_any_mode_thread_and_process(
    libraries: dict[str, str], clean: dict[str, str], how: str
) -> None:
    was, standard, found = results(libraries[how], how)
    assert was and not standard
    assert found == dict.fromkeys(("before", "main", "after", "fork"), clean)


def test_exact_engines_agree_with_scalar_and_fast_does_not_depend_on_threads(
    clean: dict[str, str],
) -> None:
    assert len({value for name, value in clean.items() if not name.startswith("fast")}) == 1
    for name, value in clean.items():
        assert clean[name.replace("'threads': 3", "'threads': 1")] == value


@pytest.mark.parametrize("how", ["flush", "up", "down", "zero"])
def test_without_the_compiled_module_a_changed_mode_is_refused(
    libraries: dict[str, str], how: str
) -> None:
    lines = run(REFUSALS, libraries[how], how).splitlines()
    assert len(lines) == 3
    for line in lines:
        what, where, fix = line.split(" | ")
        assert "another library has changed" in what
        assert "thread" in where
        assert "compiled engines" in fix
