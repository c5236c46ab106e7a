"""A headless browser for tests, driven over a pipe in the Chrome DevTools protocol: no port, no further package."""

import contextlib
import itertools
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0  # seconds for an answer


def installed() -> str | None:
    """Return the path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab of the browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers, self.buffer = commands, answers, b""
        self.numbers, self.session = itertools.count(1), None
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict:
        """Return the result of a command; events that come meanwhile are kept."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], PATIENCE)
            part = os.read(self.answers, 1 << 20) if ready else b""
            assert part, "the browser is gone, or does not answer"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        """Load a page and wait until it is whole."""
        self.call("Page.navigate", url="about:blank")  # a mere change of the fragment would load nothing
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def value(self, expression: str) -> Any:
        """Return the value of an expression in JavaScript."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def settled(self) -> None:
        """Wait until the page has been drawn anew."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def where(self, element: str) -> tuple[float, float]:
        """Return the middle of an element (an expression), which is brought into view."""
        x, y = self.value(
            f"(() => {{ const one = {element}; one.scrollIntoView({{block: 'center'}}); "
            "const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def point(self, element: str) -> None:
        """Move the mouse to an element."""
        x, y = self.where(element)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settled()

    def click(self, element: str) -> None:
        """Click on an element with the mouse."""
        x, y = self.where(element)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settled()

    def press(self, key: str, code: int) -> None:
        """Press a key; code: its number in Windows, by which the browser knows what it does."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)
        self.settled()

    def choose(self, name: str, value: str) -> None:
        """Choose an option of a select element, which has no list to click on without a screen."""
        found = self.value(
            f"(() => {{ const list = document.querySelector('select[name={name}]'); list.value = {json.dumps(value)}; "
            "list.dispatchEvent(new Event('change', {bubbles: true})); return list.value; })()"
        )
        assert found == value, f"{name} has no option {value}"
        self.settled()

    def size(self, wide: int, high: int = 900) -> None:
        """Set the size of the window."""
        self.call("Emulation.setDeviceMetricsOverride", width=wide, height=high, deviceScaleFactor=1, mobile=False)

    def complaints(self) -> list[dict]:
        """Return errors and warnings of the page, as events."""
        self.value("0")  # what came before it is read
        return [event for event in self.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]

    def fetched(self) -> list[str]:
        """Return the addresses that the page has asked for."""
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]


@contextlib.contextmanager
def tab(program: str, profile: Path) -> Iterator[Page]:
    """Start a browser with a profile of its own; yield an empty tab."""
    (reads, commands), (answers, writes) = os.pipe(), os.pipe()
    # The protocol's ends are descriptors 3 and 4.
    line = f"exec {shlex.join([program, *FLAGS, f'--user-data-dir={profile}'])} 3<&{reads} 4>&{writes}"
    process = subprocess.Popen(
        ["bash", "-c", line], pass_fds=(reads, writes), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(reads)
    os.close(writes)
    try:
        yield Page(commands, answers)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the browser and its helpers
        process.wait()
        os.close(commands)
        os.close(answers)
