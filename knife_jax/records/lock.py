"""One process at a time in a folder.

The kernel holds the lock (``flock``) and frees it however its holder ends, so that nothing has to
be cleaned up after a kill. Linux passes it on to the server of an NFS mount: it holds between
machines; a file system that knows no locks is named in a warning. ``filelock`` is not used since it
cannot say who holds a lock, and falls back to one that outlives its holder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from knife_jax.console.messages import warn
from knife_jax.records.directory import RunDirectoryError

LOCK = ".lock"
"""the file in a folder that is locked; it says who holds it, and goes when it is let go"""
UNKNOWN = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""what a file system answers that has no locks"""
MOST_TRIES = 100
"""to open a file that others remove"""


@contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Make a folder, and keep other processes out of it until the end of the block.

    ``name`` is what the command line calls it. Raises ``RunDirectoryError`` if another process
    holds it, or it cannot be written. Folders that were made and are still empty at the end go.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = folder / LOCK
    try:
        file = _locked(lock, name)
    except OSError as error:
        reason = error.strerror or error
        raise RunDirectoryError(f"{name} cannot be written: {reason}") from error
    try:
        _write_holder(file)
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(file)
        for path in made:
            with suppress(OSError):
                path.rmdir()


def _locked(lock: Path, name: str) -> int:
    """The descriptor of the lock file, locked."""
    for _ in range(MOST_TRIES):
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # its folder was removed by a process that has let go
            continue
        except FileExistsError:  # the same, between two looks of mkdir; or it is no folder
            if lock.parent.exists() and not lock.parent.is_dir():
                raise
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            os.close(file)
            raise RunDirectoryError(
                f"{name} is in use by {holder}: wait for its end, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno not in UNKNOWN:
                os.close(file)
                raise
            warn(f"{name} is not protected against a second process: its disk knows no locks")
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), lock.stat()):
                return file
        os.close(file)  # that of a process that has let go meanwhile
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _write_holder(file: int) -> None:
    """Who holds a lock, as JSON in its file."""
    about = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
    }
    with suppress(OSError):  # a disk that is full
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(about).encode(), 0)


def _holder(file: int) -> str:
    """Who holds a lock, in words."""
    try:
        about = json.loads(os.pread(file, 1000, 0))
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just been taken
        return "another process"
