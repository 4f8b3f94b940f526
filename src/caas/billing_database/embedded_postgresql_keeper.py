"""The parent process of an embedded PostgreSQL: stops it after its last user is gone.

Started by `embedded_postgresql` as `python keeper.py LOCK COMMAND...`, or as `python keeper.py LOCK
PID` for a running server that lost its keeper (Linux). Every user of the server holds a shared lock
on the file LOCK, which the kernel releases even after kill -9. The keeper waits for the exclusive
lock.

Rules a change must keep: import only small standard library modules, because this runs on every
start; never restart the server: its next user does that.
"""

import fcntl
import os
import select
import signal
import sys

LOOK_MILLISECONDS = 200


def main(lock_path: str, command: list[str]) -> None:
    """Run the command until it ends or no process holds the lock."""
    signal.signal(signal.SIGCHLD, end_with_server)
    lock = os.open(lock_path, os.O_RDWR)
    server = os.posix_spawn(command[0], command, os.environ)  # noqa: TID251 - as it was given
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stop(server)


def follow(lock_path: str, server: int) -> None:
    """Stop a server that another process started once no process holds the lock."""
    assert sys.platform == "linux", "pidfd is available on Linux only"
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
    """Exit when the server has ended; the signal also arrives when it was stopped or continued."""
    if os.waitpid(-1, os.WNOHANG)[0]:
        os._exit(0)  # nothing is left to stop


def stop(server: int) -> None:
    """Request a fast shutdown, which loses nothing, and wait for it."""
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
