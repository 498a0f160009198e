"""Servers as child processes: which user they run as, and that they never outlive the tests."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import random
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SERVER_USER = "postgres"  # neither PostgreSQL nor a homeserver may run as root
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def server_account() -> pwd.struct_passwd:
    """The account that servers run as: the caller's own, unless that is root."""
    return pwd.getpwnam(SERVER_USER) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def give_to_server(path: Path) -> None:
    account = server_account()
    if os.geteuid() == 0:
        os.chown(path, account.pw_uid, account.pw_gid)


def _as_server(stop_signal: signal.Signals) -> dict[str, Any]:
    def die_with_parent() -> None:
        # The kernel stops the server even when the tests are killed outright.
        _libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)

    options: dict[str, Any] = {"preexec_fn": die_with_parent, "start_new_session": True}
    if os.geteuid() == 0:
        account = server_account()
        groups = [group.gr_gid for group in grp.getgrall() if account.pw_name in group.gr_mem]
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    return options


def server_environment(**extra: str) -> dict[str, str]:
    """A clean environment: no PG* or PYTHON* variable of the caller reaches a server."""
    account = server_account()
    return {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        **extra,
    }


def run(command: Sequence[object], cwd: Path, timeout: float = 300, **extra: str) -> str:
    """Runs a command to its end as the server's user; its output, or an error that shows it."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=server_environment(**extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        **_as_server(signal.SIGKILL),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def spawn(
    command: Sequence[object], cwd: Path, log: Path, stop_signal: signal.Signals, **extra: str
) -> subprocess.Popen[bytes]:
    """Starts a server; its output is appended to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=server_environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **_as_server(stop_signal),
        )


def end(process: subprocess.Popen[bytes], stop_signal: signal.Signals, timeout: float) -> bool:
    """Stops a server by its own pid. False when it did not obey and had to be killed."""
    if process.poll() is not None:
        return True
    process.send_signal(stop_signal)
    try:
        process.wait(timeout)
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                status = (path / "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            if int(status.rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.name))
    return found


def free_port() -> int:
    """A port that nobody uses, below those that the kernel gives to clients: it stays free over a restart."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
