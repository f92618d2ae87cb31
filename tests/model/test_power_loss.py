"""A save survives a power loss (promise R3): old or new, and new once the save has returned.

Simulated from the writer's recorded system calls: no power is cut. Every fsync is left out in turn,
to see that the check would notice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from helpers import NEW, OLD, Watched

from microgpt import files


class Recording(Watched):
    """Real calls, recorded as what they do to a disk; fsync number `forgotten` is left out."""

    def __init__(self, forgotten: int = -1):
        super().__init__()
        self.events, self.fds, self.syncs = [], {}, 0
        self.forgotten = forgotten

    def after(self, number, name, args, result):
        if name == "open":
            self.fds[result] = os.fspath(args[0])
            if args[1] & os.O_CREAT:
                self.events.append(("create", args[0]))
        elif name == "write":
            self.events.append(("write", self.fds[args[0]], bytes(args[1][:result])))
        elif name == "fsync":
            if self.syncs != self.forgotten:
                kind = "sync folder" if os.path.isdir(self.fds[args[0]]) else "sync"
                self.events.append((kind, self.fds[args[0]]))
            self.syncs += 1
        elif name in ("replace", "unlink"):
            self.events.append((name, *map(os.fspath, args)))


def data_states(pending: list[bytes]) -> Iterator[bytes]:
    """What unsynced blocks can be on disk: each kept, zeroed, or (at the end) missing."""
    for fate in product(("kept", "zeroed"), repeat=len(pending)):
        content = b"".join(
            block if f == "kept" else bytes(len(block)) for f, block in zip(fate, pending)
        )
        for length in {sum(map(len, pending[:n])) for n in range(len(pending) + 1)}:
            yield content[:length]


def disk_states(events: list[tuple], path: str, old: bytes | None) -> Iterator[bytes | None]:
    """Contents of `path` that a disk may show if power fails after `events`; None: no file.

    Pessimistic: names and data reach the disk independently, only fsync orders them; of the names'
    changes since the folder was last synced any subset, in order, may have happened.
    """
    names = {path: "old"} if old is not None else {}
    synced, pending = {"old": [old]}, {"old": []}
    changes, current = [], {}
    for kind, *args in events:
        if kind == "create":
            current[args[0]] = inode = f"{args[0]} {len(synced)}"
            synced[inode], pending[inode] = [], []
            changes.append(("link", args[0], inode))
        elif kind == "write":
            pending[current[args[0]]].append(args[1])
        elif kind == "sync":
            inode = current[args[0]]
            synced[inode] += pending[inode]
            pending[inode] = []
        elif kind == "replace":
            changes.append(("link", args[1], current[args[0]]))
        elif kind == "sync folder":
            for _, name, inode in changes:
                names[name] = inode
            changes = []
    for happened in product((False, True), repeat=len(changes)):
        found = names | {name: inode for yes, (_, name, inode) in zip(happened, changes) if yes}
        for inode, blocks in pending.items():
            for unsynced in data_states(blocks):
                if path not in found:
                    yield None
                elif found[path] == inode:
                    yield b"".join(synced[inode]) + unsynced
                else:
                    yield b"".join(synced[found[path]])


def power_losses(path: Path, old: bytes | None, forgotten: int = -1) -> tuple[int, list[str], int]:
    """Save once, cut the power after each call: number of states, faults, number of fsyncs."""
    path.unlink(missing_ok=True)
    if old is not None:
        path.write_bytes(old)
    system = Recording(forgotten)
    files.write(path, NEW, system=system)
    states, bad = 0, []
    for n in range(len(system.events) + 1):
        done = n == len(system.events)
        for content in disk_states(system.events[:n], str(path), old):
            states += 1
            if content != NEW and (done or content != old):
                bad.append(
                    f"after {n} of {len(system.events)} calls: "
                    f"{content[:40] if content else content!r}"
                )
    return states, bad, system.syncs


@pytest.mark.parametrize("old", [OLD, None], ids=["replacing", "new"])
def test_power_loss_shows_old_or_new_and_a_finished_save_is_on_disk(tmp_path, old):
    states, bad, _ = power_losses(tmp_path / "model", old)
    assert states >= 2_000
    assert bad == []


@pytest.mark.parametrize("old", [OLD, None], ids=["replacing", "new"])
def test_no_fsync_can_be_left_out(tmp_path, old):
    _, _, syncs = power_losses(tmp_path / "model", old)
    assert syncs == 2, "the file, then its folder"
    for forgotten in range(syncs):
        assert power_losses(tmp_path / "model", old, forgotten)[1], (
            f"leaving out fsync {forgotten} went unnoticed"
        )
