"""The parent of an embedded PostgreSQL: stops it when the last process that uses it is gone.

Started by `embedded_postgresql` as a program of its own: `python keeper.py LOCK COMMAND...`; or
`python keeper.py LOCK PID` beside a server that has lost its keeper and goes on (Linux).
Every process that uses the server holds a shared lock on the file LOCK, and the kernel lets go of
it however that process ends, kill -9 included. The keeper waits for the exclusive lock.

Rules: the standard library's smallest modules only, because its start is part of every start of
the platform; it never restarts the server, since whoever uses it next does that.
"""

import fcntl
import os
import select
import signal
import sys

LOOK_MILLISECONDS = 200


def main(lock_path: str, command: list[str]) -> None:
    """Run the command until it ends by itself or nobody holds the lock any longer."""
    signal.signal(signal.SIGCHLD, end_with_server)
    lock = os.open(lock_path, os.O_RDWR)
    server = os.posix_spawn(command[0], command, os.environ)  # noqa: TID251 - as it was given
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stop(server)


def follow(lock_path: str, server: int) -> None:
    """Keep a server that another process has started: stop it when nobody holds the lock."""
    assert sys.platform == "linux", "only there is a process known by more than its number"
    lock = os.open(lock_path, os.O_RDWR)
    try:
        process = os.pidfd_open(server)
    except ProcessLookupError:
        return
    ended = select.poll()
    ended.register(process, select.POLLIN)
    while not ended.poll(LOOK_MILLISECONDS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        signal.pidfd_send_signal(process, signal.SIGINT)
        ended.poll()
        return


def end_with_server(*_: object) -> None:
    """End when the server has ended; the signal also comes when it was stopped, or goes on."""
    if os.waitpid(-1, os.WNOHANG)[0]:
        os._exit(0)  # nothing is left to stop


def stop(server: int) -> None:
    """Ask the server for a fast shutdown, which loses nothing, and wait until it is over."""
    try:
        os.kill(server, signal.SIGINT)
        os.waitpid(server, 0)
    except (ProcessLookupError, ChildProcessError):
        return


if __name__ == "__main__":
    if len(sys.argv) == len(("keeper.py", "LOCK", "PID")) and sys.argv[2].isdigit():
        follow(sys.argv[1], int(sys.argv[2]))
    else:
        main(sys.argv[1], sys.argv[2:])
