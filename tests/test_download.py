"""One file from a server on this machine: whole and checked, or nothing at all."""

import errno
import hashlib
import http.server
import os
import socket
import threading
import urllib.request
from typing import Any

import pytest

from Utils.data import download
from Utils.errors import UserError

CONTENT = bytes(range(256)) * 1_000  # of several pieces of 64 KiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """What a server can do to us, by path."""

    server: Any

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        getattr(self, self.path.strip("/").replace("-", "_"))()

    def head(self, **headers) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def whole(self) -> None:
        self.head(Content_Length=str(len(CONTENT)))
        self.wfile.write(CONTENT)

    def without_length(self) -> None:
        self.head(Connection="close")
        self.wfile.write(CONTENT)

    def chunked(self) -> None:
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT))

    def empty(self) -> None:
        self.head(Content_Length="0")

    def moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/whole")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def missing(self) -> None:
        self.send_error(404)

    def failing(self) -> None:
        self.send_error(503)

    def silent(self) -> None:
        self.server.over.wait()

    def garbled(self) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")

    def hung_up(self) -> None:
        pass  # closes without a word

    def broken_off(self) -> None:
        self.head(Content_Length=str(len(CONTENT)))
        self.wfile.write(CONTENT[:100_000])

    def broken_off_chunked(self) -> None:
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n%b" % (len(CONTENT), CONTENT[:100_000]))

    def broken_off_without_length(self) -> None:
        self.head(Connection="close")
        self.wfile.write(CONTENT[:100_000])

    def stalled(self) -> None:
        self.head(Content_Length=str(len(CONTENT)))
        self.wfile.write(CONTENT[:100_000])
        self.wfile.flush()
        self.server.over.wait()

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server():
    """The address of a running server, without the last slash."""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.over = threading.Event()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.over.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def target(tmp_path):
    """Where the file goes: a directory that is not there yet."""
    return tmp_path / "AG_NEWS" / "train.csv"


def nothing_written(target) -> bool:
    return not target.parent.exists() or list(target.parent.iterdir()) == []


@pytest.mark.parametrize("way", ["whole", "without-length", "chunked", "moved"])
def test_a_whole_file_arrives(server, target, way, capsys):
    download.fetch(f"{server}/{way}", target, MD5)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert capsys.readouterr().err == ""  # a progress bar is for terminals


def test_a_file_with_another_checksum_is_refused(server, target):
    with pytest.raises(UserError) as caught:
        download.fetch(f"{server}/whole", target, "0" * 32)
    message = str(caught.value)
    assert MD5 in message and "0" * 32 in message and f"{server}/whole" in message and str(target) in message
    assert "\n" not in message and nothing_written(target)


@pytest.mark.parametrize("way", ["empty", "broken-off-without-length"])
def test_what_only_the_checksum_can_tell_is_refused(server, target, way):
    with pytest.raises(UserError, match="md5"):
        download.fetch(f"{server}/{way}", target, MD5)
    assert nothing_written(target)


@pytest.mark.parametrize(("way", "reason"), [("missing", "Not Found"), ("failing", "Service Unavailable")])
def test_a_server_that_has_no_such_file_is_unreachable(server, target, way, reason):
    with pytest.raises(download.Unreachable, match=f"/{way}: {reason}"):
        download.fetch(f"{server}/{way}", target, MD5)
    assert nothing_written(target)


@pytest.mark.parametrize("way", ["garbled", "hung-up"])
def test_a_server_that_does_not_speak_http_is_unreachable(server, target, way):
    with pytest.raises(download.Unreachable, match=f"/{way}: "):
        download.fetch(f"{server}/{way}", target, MD5)
    assert nothing_written(target)


def test_a_refused_connection_is_unreachable(target):
    with socket.socket() as held:  # bound, so that no one else can listen there; not listening, so refused
        held.bind(("127.0.0.1", 0))
        with pytest.raises(download.Unreachable, match="Connection refused"):
            download.fetch(f"http://127.0.0.1:{held.getsockname()[1]}/train.csv", target, MD5)
    assert nothing_written(target)


def test_an_unknown_host_is_unreachable(target):
    with pytest.raises(download.Unreachable, match=r"no-such-host\.invalid"):
        download.fetch("http://no-such-host.invalid/train.csv", target, MD5)
    assert nothing_written(target)


def test_a_server_that_never_answers_is_unreachable(server, target, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    with pytest.raises(download.Unreachable, match=r"/silent(: timed out| did not answer within 0\.2 seconds)"):
        download.fetch(f"{server}/silent", target, MD5)
    assert nothing_written(target)


def test_a_look_up_of_the_host_that_does_not_end_is_unreachable(target, monkeypatch):
    """The one step that knows no time limit of its own: it is not waited for."""
    over = threading.Event()

    def slow(*_, **__):
        over.wait(10)
        raise OSError("the look-up ended after all")

    monkeypatch.setattr(urllib.request, "urlopen", slow)
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    try:
        with pytest.raises(download.Unreachable, match=r"did not answer within 0\.2 seconds"):
            download.fetch("http://127.0.0.1/train.csv", target, MD5)
    finally:
        over.set()
    assert nothing_written(target)


@pytest.mark.parametrize("way", ["broken-off", "broken-off-chunked", "stalled"])
def test_a_transfer_that_breaks_off_is_unreachable(server, target, way, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 1.0)
    with pytest.raises(download.Unreachable, match=f"/{way} broke off after "):
        download.fetch(f"{server}/{way}", target, MD5)
    assert nothing_written(target)


@pytest.mark.parametrize("way", ["broken-off", "empty", "missing"])
def test_a_file_that_is_already_there_survives_a_failure(server, target, way):
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises((download.Unreachable, UserError)):
        download.fetch(f"{server}/{way}", target, MD5)
    assert list(target.parent.iterdir()) == [target] and target.read_bytes() == b"old"


def test_a_file_that_cannot_be_written_is_the_users_to_mend(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*(Not a directory|File exists)"):
        download.fetch(f"{server}/whole", tmp_path / "file" / "train.csv", MD5)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        download.fetch(f"{server}/whole", tmp_path / "train.csv", MD5)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
