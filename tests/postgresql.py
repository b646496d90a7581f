"""A PostgreSQL server of the tests' own, which only processes of this machine reach."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60.0
"""How long a server may take to start, and to stop."""


def binaries() -> Path | None:
    """Return the folder of the newest server that is installed and may run; ``None`` where there is none."""
    if os.geteuid() == 0 and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        return None  # a server refuses to run as root, and nobody else may
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    other = shutil.which("initdb")
    return debian[-1] if debian else Path(other).resolve().parent if other else None


@contextmanager
def running() -> Iterator[str]:
    """Start a server without data; return the SQLAlchemy URL of its data base, to which ``&options=…`` may be added."""
    folder, programs = Path(tempfile.mkdtemp(prefix="pg-")), binaries()
    assert programs is not None
    user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, **user)
    try:
        create = [
            programs / "initdb",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--username=tester",
            folder / "data",
        ]
        subprocess.run(create, check=True, capture_output=True, cwd=folder, timeout=SECONDS, **user)
        server = [
            programs / "postgres",
            "-D",
            folder / "data",
            "-k",
            folder,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]
        with (folder / "log").open("wb") as log, subprocess.Popen(server, stderr=log, cwd=folder, **user) as process:
            try:
                _wait(folder, process)
                yield f"postgresql+psycopg://tester@/postgres?host={folder}"
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(SECONDS)
    finally:
        shutil.rmtree(folder)


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    import psycopg

    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            psycopg.connect(host=str(folder), user="tester", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError((folder / "log").read_text())
