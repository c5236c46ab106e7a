"""The box of a candidate's process: bubblewrap, with namespaces of its own and nothing of the rest of the machine.

The box sees the system's programs, this Python, the project's layers, networks and base class of pruners, and the files
of one submission, all read-only, and a small empty directory for files of its own. It has no network, no environment,
no capability, and a user that owns nothing. It ends with its judge, however that ends.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from Experiments.grading.child import ROOT, Child
from Utils.errors import UserError

OLDEST = 0, 8  # the first version of bubblewrap that can forbid further user namespaces
CODE, SUBMISSION = "/code", "/submission"
# What the box sees of the project. `Pruners/pruners.py` is written anew: ours are not in it.
SEEN = (
    "Layers Models Experiments/__init__.py Experiments/candidate Pruners/__init__.py Pruners/base.py Pruners/layout.py "
    "Pruners/ranking.py Pruners/untouched.py Pruners/guest.py Utils/__init__.py Utils/errors.py Utils/generator.py "
    "Utils/plugin.py Utils/machine/__init__.py Utils/machine/memory.py"
).split()
BASE = b"""'The base class of pruners, which others derive from.'

from Pruners.base import Pruner as Pruner
"""
OWN = {"/tmp": 64 << 20, "/dev/shm": 16 << 20}  # directories that can be written, and the bytes that they hold
MEMORY = 4 << 30  # bytes that all processes of the box may have together
SCARCE = 0.03  # of the machine's memory: with less than this left, the box is ended, whoever took it
EVERY = 0.1  # seconds between two looks at the memory
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath)}  # of bubblewrap itself: the box can read it
# The environment in the box.
ALONE = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
ALONE |= {"PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "", "OPENBLAS_NUM_THREADS": "1"}
FIRST_USER = 1 << 30  # where the users begin that boxes run as if a superuser starts them: none of them exists


def _directories(path: str) -> list[str]:
    """Return the arguments that make the directories above a path, readable whoever the box runs as."""
    above = [str(parent) for parent in reversed(PurePosixPath(path).parents)][1:]
    return [word for parent in above for word in ("--perms", "0755", "--dir", parent)]


def _packages() -> list[str]:
    """Return the directories of installed packages, also a user's own."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def _system() -> list[str]:
    """Return the arguments that show the system's programs and this Python, read-only."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib64", "/lib32"):
        if Path(name).is_symlink():
            words += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            words += ["--ro-bind", name, name]
    words += [*_directories("/etc/x"), "--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
    homes = [sys.base_prefix, sys.prefix, *_packages()]
    shown: list[Path] = [Path("/usr")]
    for home in map(Path, dict.fromkeys(homes)):
        if home.is_dir() and not any(home.is_relative_to(other) for other in shown):
            if ROOT.is_relative_to(home):
                raise UserError(f"the Python environment {home} holds the project; use one in a directory of its own")
            words += [*_directories(str(home)), "--ro-bind", str(home), str(home)]
            shown.append(home)
    return words


def nobody() -> int:
    """Return the number of a user that owns nothing and runs nothing else. A container may know small numbers alone."""
    ranges = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines()]
    known = max(int(first) + int(count) for first, _, count in ranges)
    return FIRST_USER + os.getpid() if known > 2 * FIRST_USER else known - 2 - os.getpid() % min(known // 2, 4000)


def _held(content: bytes) -> int:
    """Return a file descriptor from which the content can be read; it is in memory and has no name."""
    handle = os.memfd_create("box")
    os.write(handle, content)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


class Command:
    """The command line of a box, and the descriptors that it reads from."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.handles: list[int] = []
        system = _system()
        words = "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try".split()
        words += "--disable-userns --uid 1000 --gid 1000 --cap-drop ALL --hostname box --new-session".split()
        words += ["--die-with-parent", "--clearenv", "--proc", "/proc", "--dev", "/dev"]
        for name, size in OWN.items():
            words += ["--size", str(size), "--tmpfs", name]
        words += [*system, "--perms", "0755", "--dir", CODE]  # last, for this Python may itself lie below /tmp
        for name in SEEN:
            words += [*_directories(f"{CODE}/{name}"), "--ro-bind", str(ROOT / name), f"{CODE}/{name}"]
        words += self._file(f"{CODE}/Pruners/pruners.py", BASE)
        words += ["--perms", "0755", "--dir", SUBMISSION]
        for name, content in files.items():
            words += [*_directories(f"{SUBMISSION}/{name}"), *self._file(f"{SUBMISSION}/{name}", content)]
        words += ["--remount-ro", "/dev", "--remount-ro", "/"]
        for name, value in {**ALONE, "PYTHONPATH": ":".join([CODE, *_packages()])}.items():
            words += ["--setenv", name, value]
        self.words = ["bwrap", "--args", str(self._arguments([*words, "--chdir", "/tmp"])), "--"]
        if os.geteuid() == 0:  # limits of processes do not hold for the superuser, so the box gets another user
            user = str(nobody())
            outer = ["--die-with-parent", "--tmpfs", "/tmp", *system, "--bind", "/proc", "/proc"]
            outer += ["--dev-bind", "/dev", "/dev", *_directories(f"{ROOT}/x"), "--ro-bind", str(ROOT), str(ROOT)]
            outer += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
            drop = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
            drop += ["--inh-caps=-all", "--bounding-set=-all"]
            self.words = ["bwrap", "--args", str(self._arguments(outer)), "--", *drop, *self.words]

    def _file(self, place: str, content: bytes) -> list[str]:
        self.handles.append(_held(content))
        return ["--perms", "0444", "--ro-bind-data", str(self.handles[-1]), place]

    def _arguments(self, words: list[str]) -> int:
        self.handles.append(_held("\0".join(words).encode()))
        return self.handles[-1]

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            os.close(handle)


class Box(Child):
    """A candidate's process in a box. files: the submission, {path in it: content}."""

    def __init__(self, threads: int, files: Mapping[str, bytes]) -> None:
        self.reason = ""
        with Command(files) as command:
            super().__init__(command.words, [str(threads), "boxed"], "/", ENVIRONMENT, command.handles)
        self.over = threading.Event()
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()

    def _watch(self) -> None:
        while not self.over.wait(EVERY):
            members = tree(self.process.pid)
            if sum(members.values()) > MEMORY and shared_once(members) > MEMORY:
                self.reason = f"its processes took more than {MEMORY >> 30} GB of memory"
            elif scarce():
                self.fault = "the machine had hardly any memory left"
            if self.reason or self.fault:
                self.kill()
                return

    def gone(self) -> str | None:
        return self.reason or super().gone()

    def close(self) -> None:
        self.over.set()
        self.watch.join()
        super().close()


def tree(process: int) -> dict[int, int]:
    """Return {process: bytes of memory that it shares with no file} of a process and all below it."""
    below: dict[int, list[int]] = {}
    own: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, KeyError):  # it may end at any time
                lines = (entry / "status").read_text(encoding="utf-8", errors="replace")
                found = dict(re.findall(r"^(PPid|RssAnon|RssShmem):\s+(\d+)", lines, re.MULTILINE))
                below.setdefault(int(found["PPid"]), []).append(int(entry.name))
                own[int(entry.name)] = 1024 * (int(found.get("RssAnon", 0)) + int(found.get("RssShmem", 0)))
    members = [process]
    for member in members:  # it grows as it is walked
        members += below.get(member, [])
    return {member: own[member] for member in members if member in own}


def shared_once(members: Mapping[int, int]) -> int:
    """Return the bytes of these processes together, with what forked ones share counted once, which takes longer."""
    total = 0
    for member, own in members.items():
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text(encoding="utf-8")
            total += 1024 * sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", lines, re.MULTILINE)))
        except ProcessLookupError:
            pass  # it has ended
        except OSError:
            total += own
    return total


def scarce() -> bool:
    """Return whether hardly any of the machine's memory is left."""
    lines = dict(re.findall(r"^(\w+):\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE))
    return int(lines["MemAvailable"]) < SCARCE * int(lines["MemTotal"])


def isolation() -> str:
    """Return what stands on the sheet, once a box has been tried. Raises UserError, with what mends it, otherwise."""
    missing = [name for name in ("bwrap", *(["setpriv"] if os.geteuid() == 0 else [])) if shutil.which(name) is None]
    if missing or sys.platform != "linux":
        raise UserError(
            f"--submissions needs Linux with {' and '.join(missing) or 'bubblewrap'}; "
            "sudo apt-get install bubblewrap util-linux"
        )
    version = subprocess.run(["bwrap", "--version"], capture_output=True, encoding="utf-8", env=dict(os.environ)).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UserError(f"--submissions needs bubblewrap {oldest} or newer, and this is {version.strip() or 'unknown'}")
    with Command({}) as command:
        made = subprocess.run(
            [*command.words, sys.executable, "-S", "-c", "import Experiments"],
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            pass_fds=command.handles, cwd="/", env=ENVIRONMENT,
        )  # fmt: skip
    if made.returncode:
        said = (made.stderr.strip().splitlines() or [f"exit code {made.returncode}"])[-1]
        raise UserError(f"--submissions: bubblewrap can start no box here ({said}); {remedy()}")
    return version.strip()


def remedy() -> str:
    """Return the line that lets bubblewrap make namespaces, by what this system's settings say."""
    for name, bad, good in (
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user.max_user_namespaces", "0", "15000"),
    ):
        with suppress(OSError):
            if Path(f"/proc/sys/{name.replace('.', '/')}").read_text(encoding="utf-8").strip() == bad:
                return f"sudo sysctl {name}={good}"
    return "in a container, start it with --privileged, or grade outside of it"
