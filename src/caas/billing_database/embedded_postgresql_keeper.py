"""The parent of an embedded PostgreSQL: stops it when the last process that uses it is gone.

Started by `embedded_postgresql` as a program of its own: `python keeper.py LOCK COMMAND...`.
Every process that uses the server holds a shared lock on the file LOCK, and the kernel lets go of
it however that process ends, kill -9 included. The keeper waits for the exclusive lock.

Rules: the standard library's smallest modules only, because its start is part of every start of
the platform; it never restarts the server, since whoever uses it next does that.
"""

import fcntl
import os
import signal
import sys


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
    main(sys.argv[1], sys.argv[2:])
