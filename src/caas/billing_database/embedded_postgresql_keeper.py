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
    signal.signal(signal.SIGCHLD, lambda *_: sys.exit())
    lock = os.open(lock_path, os.O_RDWR)
    server = os.posix_spawn(command[0], command, os.environ)  # noqa: TID251 - as it was given
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stop(server)


def stop(server: int) -> None:
    """Ask the server for a fast shutdown, which loses nothing, and wait until it is over."""
    try:
        os.kill(server, signal.SIGINT)
        os.waitpid(server, 0)
    except (ProcessLookupError, ChildProcessError):
        return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
