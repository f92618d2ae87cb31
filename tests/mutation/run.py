"""Plant faults in a copy of the package, one at a time, and see whether a test notices each.

    python tests/mutation/run.py [--only FILE ...] [--match TEXT]

FILE is a file of the package, such as checkpoint.py or serving/guard.py. TEXT selects the faults
whose description contains it. A fault survives if all tests of its file pass. The known survivors
are in survivors.json, each with the reason. Exits 1 if any other fault survives, or a known one
no longer does. Takes about half a minute for each fault.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import FAULTS, TESTS, Fault

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "microgpt"
SURVIVORS = Path(__file__).with_name("survivors.json")
SECONDS = 240  # for the tests of one fault; a test that hangs has noticed the fault
# In an editable install a finder sends every import to the working tree. The copy must come first.
SITE = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "ScikitBuild" not in type(f).__name__]
"""


def failure(file: str, copy: Path) -> str:
    """What pytest says if a test of that file fails with the package in `copy`; else ""."""
    path = os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=60"]
    command += TESTS[file]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["MICROGPT_REQUIRE"] = "sandbox"  # a guard that is missing must not skip its test
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"the tests took more than {SECONDS} s"
    if done.returncode not in (0, 1, 2):
        sys.exit(f"the tests of {file} could not be run:\n{done.stdout}{done.stderr}")
    return done.stdout if done.returncode else ""


def survives(fault: Fault, copy: Path) -> bool:
    """Whether no test notices the fault."""
    target = copy / "microgpt" / fault.file
    before = target.read_text()
    if before.count(fault.old) != 1:
        sys.exit(f"{fault.file}: {fault.old!r} occurs {before.count(fault.old)} times, not once")
    target.write_text(before.replace(fault.old, fault.new))
    try:
        return not failure(fault.file, copy)
    finally:
        target.write_text(before)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=TESTS, default=list(TESTS), metavar="FILE")
    parser.add_argument("--match", default="", metavar="TEXT")
    args = parser.parse_args()
    chosen = [f for f in FAULTS if f.file in args.only and args.match in f.breaks]
    known = json.loads(SURVIVORS.read_text())
    unexpected = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(PACKAGE, copy / "microgpt", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "sitecustomize.py").write_text(SITE)
        for file in dict.fromkeys(fault.file for fault in chosen):
            if said := failure(file, copy):
                sys.exit(f"{said}\nthe tests of {file} fail without any fault")
        for fault in chosen:
            began = time.monotonic()
            alive, name = survives(fault, copy), f"{fault.file}: {fault.breaks}"
            expected = name in known
            unexpected += alive != expected
            word = "SURVIVES" if alive else "noticed"
            remark = "" if alive == expected else ", but is listed as a survivor" * expected
            print(f"{word:8} {time.monotonic() - began:5.0f} s  {name}{remark}", flush=True)
    print(f"{len(chosen)} faults, {unexpected} with another outcome than listed")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
