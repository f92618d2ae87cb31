"""Run one command within limits; a script: python -I -S cage.py SETTINGS -- COMMAND...

sandbox.py starts it. As far as the system permits, it cuts the command off from the network, from
other processes and from all files outside a list. It watches memory, processes and files, and ends
every descendant before it ends itself. It writes JSON objects, one a line, to the status pipe. It
imports nothing of the package.

Three processes: the cage; below it the first process of a new process namespace; below that the
command. Closing the cage's standard input tells it to stop, so no command outlives the sandbox.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
NEW_MOUNTS, NEW_IPC, NEW_USER = 0x20000, 0x8000000, 0x10000000
NEW_PROCESSES, NEW_NETWORK = 0x20000000, 0x40000000
MS_REC_PRIVATE, MS_NOSUID_NODEV_NOEXEC = 0x4000 | 0x40000, 2 | 4 | 8
# Numbers of system calls, the same on every architecture.
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ_RIGHTS = 0b1101  # execute, read file, read folder
FILE_RIGHTS = 0b0111 | 1 << 14  # those that apply to a plain file
POLL_SECONDS = 0.05


# ---- Cutting off ---------------------------------------------------------------------------------


def unshare(flags):
    if LIBC.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def isolate(allow_network):
    """Enter new namespaces where the system grants them; returns the guards that they give."""
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:  # an ordinary user may make them only inside a user namespace
        try:
            unshare(NEW_USER)
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{uid} {uid} 1"),
                ("gid_map", f"{gid} {gid} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        except OSError:
            return []
    guards = []
    wanted = [("processes", NEW_PROCESSES | NEW_IPC)]
    for guard, flags in wanted if allow_network else [*wanted, ("network", NEW_NETWORK)]:
        try:
            unshare(flags)
            guards.append(guard)
        except OSError:
            pass
    return guards


def hide_processes():
    """A /proc that shows only the new process namespace, for this process and those below it."""
    if LIBC.unshare(NEW_MOUNTS) != 0 or LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None) != 0:
        return
    LIBC.mount(b"proc", b"/proc", b"proc", MS_NOSUID_NODEV_NOEXEC, None)


class RulesetAttributes(ctypes.Structure):
    _fields_ = [
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    ]


class PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def restrict_files(readable, writable):
    """Landlock: from here on nothing but these paths can be opened. False where it is missing."""
    version = LIBC.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    every_right = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    attributes = RulesetAttributes(every_right, 0, 0)
    ruleset = LIBC.syscall(LANDLOCK_CREATE, ctypes.byref(attributes), 8, 0)
    if ruleset < 0:
        return False
    for path, rights in [(p, READ_RIGHTS) for p in readable] + [(p, every_right) for p in writable]:
        if not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not os.path.isdir(path):
            rights &= FILE_RIGHTS & every_right
        LIBC.syscall(LANDLOCK_ADD, ruleset, 1, ctypes.byref(PathRule(rights, opened)), 0)
        os.close(opened)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    restricted = LIBC.syscall(LANDLOCK_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return restricted


def set_limits(limits):
    """Set the limits of this process. RLIMIT_NPROC does not bind root, so `watch` counts."""
    for name, amount in (
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_CPU", int(limits["seconds"]) + 2),
        ("RLIMIT_FSIZE", limits["files"]),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 256),
    ):
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (amount, amount))


# ---- The processes below the cage ----------------------------------------------------------------


def become_command(settings, command, status):
    os.close(status)
    os.setsid()
    os.chdir(settings["folder"])
    set_limits(settings["limits"])
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.execve(command[0], command, settings["environment"])


def report(pipe, /, **facts):
    os.write(pipe, json.dumps(facts).encode() + b"\n")


def be_first(settings, command, guards, status):
    """Process 1 of its namespace: start the command, reap orphans, report how the command ended.

    When this process ends, the kernel kills everything that is left in the namespace.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if "processes" in guards:
        hide_processes()
    if restrict_files(settings["readable"], [settings["folder"], "/dev/null"]):
        guards.append("files")
    report(status, guards=guards)
    child = os.fork()
    if child == 0:
        try:
            become_command(settings, command, status)
        except OSError as error:
            os.write(2, f"cannot start {command[0]}: {error}\n".encode())
        finally:
            os._exit(127)
    os.closerange(0, 3)
    ended = None
    while ended is None:
        pid, code = os.wait()
        ended = code if pid == child else None
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report(
        status,
        status=os.waitstatus_to_exitcode(ended),
        cpu=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * 1024,
    )


# ---- Watching and ending -------------------------------------------------------------------------


def descendants(root):
    """[(process id, resident bytes)] of everything below a process, zombies left out."""
    children: dict[int, list[int]] = {}
    memory: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X"):
                memory[int(entry)] = int(fields[21]) * resource.getpagesize()
            children.setdefault(int(fields[1]), []).append(int(entry))
    alive, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        queue += below
        alive += [(pid, memory[pid]) for pid in below if pid in memory]
    return alive


def folder_bytes(folder):
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except OSError:
                pass
    return total


def watch(root, settings, stop):
    """Wait for the first process to end: "". Else why to end it: "stopped", or the limit's name."""
    limits, rounds = settings["limits"], 0
    while True:
        if os.waitpid(root, os.WNOHANG)[0]:
            return ""
        alive = descendants(os.getpid())
        if len(alive) > limits["processes"] + 1:
            return "processes"
        if sum(size for _, size in alive) > limits["memory"]:
            return "memory"
        if rounds % 10 == 9 and folder_bytes(settings["folder"]) > limits["files"]:
            return "files"
        rounds += 1
        if select.select([stop], [], [], POLL_SECONDS)[0]:
            return "stopped"


def end_all():
    """Kill every descendant; how many are left. They are stopped first, so that none forks away."""
    deadline = time.monotonic() + 0.8
    while time.monotonic() < deadline:
        alive = [pid for pid, _ in descendants(os.getpid())]
        for order in (signal.SIGSTOP, signal.SIGKILL):
            for pid in alive:
                try:
                    os.kill(pid, order)
                except OSError:
                    pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return 0
        if alive:
            time.sleep(0.005)
    return len(descendants(os.getpid()))


def main():
    settings, command = json.loads(sys.argv[1]), sys.argv[3:]
    status = settings["status"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    guards = isolate(settings["network"])
    first = os.fork()
    if first == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            be_first(settings, command, guards, status)
        finally:
            os._exit(0)
    if settings["record"] is not None:
        os.close(settings["record"])
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    over = watch(first, settings, sys.stdin)
    left = end_all()
    report(status, over=over, survivors=left)


main()
