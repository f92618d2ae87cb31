"""The faults that run.py plants, one at a time. Each must make a test fail.

An old text occurs exactly once in its file; a test checks that. The faults match code, not
comments, so that a new wording leaves them valid. `survivors.json` lists the faults that no test
notices, each with the reason.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault in a file of the package: replace `old` by `new`. breaks: what no longer holds."""

    file: str
    old: str
    new: str
    breaks: str


# File of the package -> arguments of pytest that select the tests which belong to it.
TESTS = {
    "checkpoint.py": [
        "tests/model/test_strict_headers.py",
        "tests/model/test_checkpoint.py",
    ],
    "files.py": [
        "tests/model/test_locks_and_logs.py",
        "tests/model/test_files.py",
        "tests/model/test_power_loss.py",
    ],
    "serving/guard.py": [
        "tests/serving/test_guard.py",
        "tests/serving/test_serving.py",
        "tests/serving/test_serving_load.py",
        "-m=not soak",  # a deadline is tested in `make proof`
        "-k=not page_of_another and (test_serving.py or test_guard or slow or bodies or queue)",
    ],
    "serving/jobs.py": [
        "tests/serving/test_jobs.py",
        "tests/serving/test_serving_load.py",
        "-k=test_jobs or queue or too_long",
    ],
    "verify/floats.py": ["tests/verify/test_levels.py", "tests/verify/test_compare.py"],
    "verify/compare.py": ["tests/verify/test_levels.py", "tests/verify/test_compare.py"],
    "verify/cage.py": ["tests/verify/test_verify_hostile.py", "-m=not soak"],
    "sampling.py": ["tests/model/test_sampling.py"],
}

_HEADER = [
    ("!= len(pairs):", "< 0:", "JSON names may occur twice"),
    ("parse_constant=refuse", "parse_constant=float", "NaN and Infinity pass as JSON"),
    (
        "alphabet.encode()",
        'alphabet.encode("utf-8", "surrogatepass")',
        "an alphabet may hold half a character",
    ),
    ("len(set(alphabet)) < len(alphabet)", "False", "an alphabet may hold a character twice"),
    (".hexdigest() == claimed", ".hexdigest()[:8] == claimed[:8]", "most of the hash is ignored"),
    ("len(claimed) != 64 or", "", "a hash may have any length"),
    (
        "update(memoryview(data)[start:])",
        "update(memoryview(data)[start + 8 :])",
        "a hole in the hash",
    ),
    ("or length > len(data) - 8", "or length > len(data)", "a header may end past the file"),
    ("if length > HEADER_LIMIT:", "if False:", "a header may have any length"),
    ("> ITEMS_LIMIT", "> 100 * ITEMS_LIMIT", "a header may take gigabytes in memory"),
    ("if set(metadata) != ", "if False and set(metadata) != ", "unknown entries are ignored"),
    ("not 0 <= step <= config.num_steps", "not 0 <= step", "a step may lie past the end"),
    (
        "len(data) - start != size *",
        "len(data) - start < size *",
        "bytes after the tensors are ignored",
    ),
    (
        "if not _finite(state):\n        raise",
        "if False:\n        raise",
        "a model with NaN is saved",
    ),
    (
        "if not _finite(state):\n        _fail",
        "if False:\n        _fail",
        "a model with NaN is loaded",
    ),
    (
        "isfinite(sum(part)) or all(map(isfinite, part))",
        "isfinite(sum(part))",
        "a model of huge finite numbers is refused",
    ),
    ("config.check_memory(tokenizer.vocab_size)", "pass", "a header may claim terabytes"),
    (
        "if header != _layout(config, tokenizer.vocab_size) or",
        "if",
        "tensors need not be those of the configuration",
    ),
    ('text += b" " * (-len(text) % 8)', 'text += b""', "tensors are not aligned"),
]

_THEN_REPLACE = "        finally:\n            system.close(descriptor)\n        system.replace"
_FILES = [
    (
        "os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_CLOEXEC",
        "reading a FIFO waits for ever",
    ),
    (
        "if not stat.S_ISREG(mode):\n        os.close",
        "if False:\n        os.close",
        "devices are read",
    ),
    (
        "os.path.samestat(os.stat(beside), os.fstat(descriptor))",
        "True",
        "two processes may hold the lock",
    ),
    ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB", "the lock is shared"),
    ("os.ftruncate(descriptor, 0)", "pass", "the lock names a wrong process"),
    ("os.O_EXCL", "os.O_TRUNC", "a temporary file of others is written into"),
    (
        "rest = rest[system.write(descriptor, rest) :]",
        "rest = rest[max(len(rest), system.write(descriptor, rest)) :]",
        "a short write cuts the file",
    ),
    (
        "system.fsync(descriptor)\n" + _THEN_REPLACE,
        "pass\n" + _THEN_REPLACE,
        "power loss leaves an empty file",
    ),
    (
        "_sync_folder(os.path.dirname(target), system)",
        "pass",
        "power loss brings the old file back",
    ),
    ("system.replace(temporary, target)", "system.replace(temporary, path)", "links are replaced"),
    ("if exists:", "if False:", "a failed save leaves its temporary file"),
    ("os.unlink(beside)", "pass", "the lock file stays"),
    ("self._system.fsync(self._descriptor)", "pass", "a closed log may be lost"),
    ("if error.errno != errno.EINVAL:", "if True:", "a log cannot be a pipe"),
    ("return stat.S_IMODE(mode) & 0o666", "return 0o666", "a private file becomes readable"),
    ("os.O_APPEND if keep else os.O_TRUNC", "os.O_APPEND", "a new log keeps the old one's lines"),
    (
        "(os.path.isfile(path) and is_ours(first_bytes(path)))",
        "os.path.isfile(path)",
        "files of others are overwritten",
    ),
    (
        "full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)",
        "full = error.errno == errno.EDQUOT",
        "a full disk is not called full",
    ),
]

_GUARD = [
    ("hmac.compare_digest(value, wanted)", "wanted.startswith(value)", "an empty token passes"),
    ("hosts[0] not in self._hosts", "not hosts[0]", "any host name passes"),
    ("len(hosts) != 1 or", "not hosts or", "a second Host header passes"),
    (
        'origin != b"http://" + hosts[0]',
        'not origin.endswith(hosts[0].split(b":")[-1])',
        "pages of other hosts pass",
    ),
    ('(b"same-origin", b"none")', '(b"same-origin", b"none", b"same-site")', "other sites pass"),
    ('types != [b"application/json"]', 'types == [b"text/plain"]', "forms pass"),
    ('if scope["path"] == "/":', "if True:", "the token passes in any query"),
    ("if len(body) > BODY_LIMIT:", "if False:", "bodies of any size are read"),
    ("self._held > HELD_LIMIT", "False", "bodies together are not bounded"),
    (
        "self._held -= len(body)\n\n    async def _read_body",
        "pass\n\n    async def _read_body",
        "the room that bodies take never comes back",
    ),
    ("if len(self.connections) > CONNECTIONS:", "if False:", "connections are not bounded"),
    (
        "self._arrival = self._after_deadline()\n\n    def connection_lost",
        "pass\n\n    def connection_lost",
        "a silent client stays for ever",
    ),
    (
        "ipaddress.ip_address(address).is_loopback",
        "ipaddress.ip_address(address).is_private",
        "the local network counts as this machine",
    ),
    ("if status == 503:", "if False:", "a refused client is not told when to come back"),
    ("if port == 80:", "if True:", "a host without a port passes"),
]

_JOBS = [
    ("if self._waiting >= WAITING:", "if False:", "the queue has no end"),
    ("self._waiting -= 1", "pass", "the queue fills up for ever"),
    ("self._slots.release()", "pass", "threads are never given back"),
    ("self.gone.is_set() or ", "", "work goes on for clients that left"),
    ("self._stopping.is_set() or ", "", "work goes on when the server ends"),
    (" or self.late()", "", "work has no limit of time"),
    (
        "request.receive())\n    watch.gone.set()",
        "request.receive())",
        "a client's leaving is missed",
    ),
    ("if not stop.late():", "if True:", "a late result is given as if in time"),
]

_FLOATS = [
    ("(2**63 - 1)) - 1", "(2**63 - 1))", "+0 and -0 are the same"),
    ("return 2**64 if a != a or b != b", "return 0 if a != a or b != b", "NaN equals any number"),
    ("actual[i]) > ulps", "actual[i]) > ulps + 1", "the last bit is ignored"),
    ("if len(expected) != len(actual):", "if False:", "a shorter state is not seen"),
]

_COMPARE = [
    ("if apart > ulps:", "if apart > ulps + 1:", "a loss's last bit is ignored"),
    ('ulps = ulps if level == "ulp" else 0', "ulps = ulps", "level bits allows differences"),
    ('if level == "ulp":', 'if level != "printed":', "level bits ignores the output"),
    (
        "original.outcome.stderr != variant.outcome.stderr",
        "False",
        "level bits ignores the error output",
    ),
    (
        "all(state.raw in remaining for state in actual)",
        "True",
        "wrong states in between pass",
    ),
    ("actual[-1].raw != expected[-1].raw", "False", "a wrong final state passes"),
    ("    if len(expected) != len(actual):", "    if False:", "losses left out pass"),
    ('line.startswith(b"sample ")', 'line.startswith(b"sample  1")', "most samples are ignored"),
]

_CAGE = [
    (
        'wanted if allow_network else [*wanted, ("network", NEW_NETWORK)]',
        "wanted",
        "network is open",
    ),
    ('if len(alive) > limits["processes"] + 1:', "if False:", "any number of processes"),
    ('if sum(size for _, size in alive) > limits["memory"]:', "if False:", "memory together"),
    ('folder_bytes(settings["folder"]) > limits["files"]', "False", "files together"),
    ("select.select([stop], [], [], POLL_SECONDS)[0]", "time.sleep(POLL_SECONDS)", "no stop"),
    ("for order in (signal.SIGSTOP, signal.SIGKILL):", "for order in ():", "processes survive"),
    ("LIBC.syscall(LANDLOCK_RESTRICT, ruleset, 0) == 0", "True", "files of the user are open"),
]

_SAMPLING = [
    ("len(text) >= self.min_len", "len(text) > self.min_len", "min_len is exclusive"),
    ("len(text) <= self.max_len", "len(text) < self.max_len", "max_len is exclusive"),
    ("re.fullmatch(self.match, text)", "re.match(self.match, text)", "match takes prefixes"),
    ("text not in self.novel", "True", "novel is ignored"),
    ("wanted.unique and text in seen", "False", "unique is ignored"),
    (".coins_used :]", ".coins_used + 1 :]", "a coin is lost between draws"),
    ("if prefix >= longest:", "if prefix > longest:", "a prefix may fill the block"),
    ("if wanted.min_len > longest:", "if False:", "a length no string has is tried for"),
    ("max(LEAST_TRIES, TRIES * count)", "LEAST_TRIES // 100", "the search gives up early"),
    ("count and tries and not stop()", "count and tries", "sampling cannot be stopped"),
    (", tries))", ", 10**9))", "more is drawn than allowed"),
]

FAULTS = [
    Fault(file, *fault)
    for file, faults in [
        ("checkpoint.py", _HEADER),
        ("files.py", _FILES),
        ("serving/guard.py", _GUARD),
        ("serving/jobs.py", _JOBS),
        ("verify/floats.py", _FLOATS),
        ("verify/compare.py", _COMPARE),
        ("verify/cage.py", _CAGE),
        ("sampling.py", _SAMPLING),
    ]
    for fault in faults
]
