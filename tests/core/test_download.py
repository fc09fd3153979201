"""Downloads against servers on 127.0.0.1 that break off, ignore ranges, refuse, lie or hang."""

import gzip
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from headtohead.core import download as download_module
from headtohead.core.download import download
from headtohead.core.errors import InputError, Unavailable

CONTENT = random.Random(0).randbytes(300_000)
CHUNK = download_module.CHUNK_BYTES
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Source:
    """A local server of one file, and how it misbehaves."""

    content: bytes = CONTENT
    status: int = 200
    honours_range: bool = True
    announces_size: bool = True
    break_after: int | None = None  # bytes sent per request before the connection is cut
    breaks: int = 1  # how many requests are cut
    hangs_for: float = 0.0  # seconds of silence in the middle of the file
    drips_headers: float = 0.0  # seconds between the single bytes of a header without end
    drips_body: float = 0.0  # the same in the body
    endless: bool = False  # goes on after the file
    announced: int | None = None  # a size that is not the file's
    content_encoding: str | None = None
    content_type: str = "application/octet-stream"
    redirect_to: str | None = None
    ranges: list[str | None] = field(default_factory=list)  # the Range header of every GET, in order
    sent: int = 0  # bytes, where it is endless
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    source: Source

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        source = self.source
        wanted = self.headers.get("Range")
        source.ranges.append(wanted)
        start = int(wanted[6:-1]) if wanted and source.honours_range else 0
        if start >= len(source.content) > 0:
            self.send_error(416)
            return
        if source.drips_headers:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
            self.drip_bytes(source.drips_headers, 1000)
        self.send_response(206 if start else source.status)
        self.send_header("Content-Type", source.content_type)
        if source.content_encoding:
            self.send_header("Content-Encoding", source.content_encoding)
        if source.redirect_to:
            self.send_header("Location", source.redirect_to)
        if start:
            span = f"bytes {start}-{len(source.content) - 1}/{len(source.content)}"
            self.send_header("Content-Range", span)
        if source.announces_size:
            whole = len(source.content) if source.announced is None else source.announced
            self.send_header("Content-Length", str(whole - start))
        self.end_headers()
        self.send_body(source, source.content[start:])

    def drip_bytes(self, seconds: float, count: int) -> None:
        with suppress(OSError):
            for _ in range(count):
                self.wfile.write(b"x")
                time.sleep(seconds)

    def send_body(self, source: Source, body: bytes) -> None:
        if source.break_after is not None and source.breaks > 0:
            source.breaks -= 1
            self.wfile.write(body[: source.break_after])
        elif source.hangs_for:
            self.wfile.write(body[:1000])
            self.wfile.flush()
            time.sleep(source.hangs_for)
        elif source.drips_body:
            self.drip_bytes(source.drips_body, len(body))
        elif source.endless:
            with suppress(OSError):
                while True:
                    self.wfile.write(body)
                    source.sent += len(body)
        else:
            self.wfile.write(body)


@pytest.fixture
def serve():
    servers = []

    def start(**behaviour) -> Source:
        source = Source(**behaviour)
        handler = type("HandlerOfOneSource", (Handler,), {"source": source})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        source.url = f"http://127.0.0.1:{server.server_port}/file"
        return source

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/file"


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/file"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch) -> None:
    monkeypatch.setattr(download_module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(download_module, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(download_module, "READ_SECONDS", 0.3)
    monkeypatch.setattr(download_module, "CHUNK_SECONDS", 2.0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "file.bin"


def part_of(target):
    return target.with_name("file.bin.part")


def fetch(target, *sources, **expected):
    urls = [source if isinstance(source, str) else source.url for source in sources]
    return download(urls, target, description="the test file", **expected)


@pytest.mark.parametrize("expected", [{}, {"size": len(CONTENT)}, {"sha256": SHA256}])
@pytest.mark.parametrize("announces_size", [True, False])
def test_whole_file(serve, target, expected, announces_size):
    assert fetch(target, serve(announces_size=announces_size), **expected) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_shows_nothing_where_there_is_no_terminal(serve, target, capfd):
    fetch(target, serve())
    assert capfd.readouterr() == ("", "")


def test_shows_progress_on_a_terminal(serve, target, monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    fetch(target, serve())
    output, errors = capfd.readouterr()
    assert output == ""
    assert "the test file" in errors


@pytest.mark.parametrize("honours_range", [True, False])
def test_goes_on_after_a_break(serve, target, honours_range):
    source = serve(break_after=CHUNK + 5, honours_range=honours_range)
    fetch(target, source, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert source.ranges == [None, f"bytes={CHUNK}-"]


def test_several_breaks(serve, target):
    source = serve(break_after=CHUNK + 5, breaks=2)
    fetch(target, source)
    assert target.read_bytes() == CONTENT
    assert source.ranges == [None, f"bytes={CHUNK}-", f"bytes={2 * CHUNK}-"]


def test_a_break_where_only_the_given_size_tells(serve, target):
    source = serve(break_after=CHUNK + 5, announces_size=False)
    fetch(target, source, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_resumes_what_an_earlier_call_left(serve, target):
    with pytest.raises(Unavailable):
        fetch(target, serve(break_after=CHUNK, breaks=100, honours_range=False))
    assert part_of(target).read_bytes() == CONTENT[:CHUNK]
    assert not target.exists()
    source = serve()
    fetch(target, source)
    assert source.ranges == [f"bytes={CHUNK}-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"x" * 1000, CONTENT + b"x", b"x" * len(CONTENT)])
def test_a_wrong_part_is_fetched_anew(serve, target, left):
    target.parent.mkdir()
    part_of(target).write_bytes(left)
    fetch(target, serve(), size=len(CONTENT), sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_part_beyond_the_end_is_fetched_anew(serve, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT + b"x")
    source = serve()
    fetch(target, source)
    assert target.read_bytes() == CONTENT
    assert source.ranges == [f"bytes={len(CONTENT) + 1}-", None]


def test_a_complete_part_needs_no_request_for_bytes(serve, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    source = serve()
    fetch(target, source, size=len(CONTENT), sha256=SHA256)
    assert source.ranges == []
    assert target.read_bytes() == CONTENT


def test_empty_file(serve, target):
    fetch(target, serve(content=b""), size=0)
    assert target.read_bytes() == b""


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "404": ({"status": 404}, "HTTP 404 Not Found"),
    "wrong bytes": ({"content": CONTENT[::-1]}, "sha256"),
    "wrong size": ({"content": CONTENT + b"x"}, "300,001 bytes instead of 300,000"),
    "web page": ({"content_type": "text/html; charset=utf-8"}, "web page"),
    "hangs": ({"hangs_for": 1.0}, "no answer in time"),
    "breaks for ever": ({"break_after": 10, "breaks": 100}, "broke off"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_source_is_named_and_the_next_one_used(serve, target, fault):
    behaviour, reason = FAULTS[fault]
    faulty = serve(**behaviour)
    with pytest.raises(Unavailable) as failed:
        fetch(target, faulty, size=len(CONTENT), sha256=SHA256)
    assert str(failed.value).startswith("the test file could not be downloaded from ")
    assert faulty.url in str(failed.value)
    assert reason in str(failed.value)
    assert not target.exists()
    fetch(target, faulty, serve(), size=len(CONTENT), sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_redirect_away_from_https_is_refused(serve, target):
    elsewhere = serve().url.replace("127.0.0.1", "localhost")
    with pytest.raises(Unavailable, match=r"redirects to http://localhost:.* not https"):
        fetch(target, serve(status=302, redirect_to=elsewhere))


def test_the_check_decides_and_the_next_source_is_tried(serve, target):
    def check(path):
        if path.read_bytes() != CONTENT:
            raise InputError("the wrong picture")

    wrong = serve(content=b"other")
    with pytest.raises(Unavailable, match="the wrong picture"):
        fetch(target, wrong, check=check)
    assert not part_of(target).exists()
    fetch(target, wrong, serve(), check=check)
    assert target.read_bytes() == CONTENT


def test_a_source_that_brings_nothing_is_not_asked_again(serve, target):
    source = serve(break_after=0, breaks=100)
    with pytest.raises(Unavailable):
        fetch(target, source)
    assert len(source.ranges) == 1


def test_every_source_is_named(serve, target, closed_port, silent_server):
    missing = serve(status=404)
    with pytest.raises(Unavailable) as failed:
        fetch(target, missing, closed_port, silent_server)
    for url in (missing.url, closed_port, silent_server):
        assert url in str(failed.value)


def test_all_servers_are_asked_at_once(target, silent_server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer within.*no answer within"):
            fetch(target, silent_server, other)
        assert time.monotonic() - started < 0.98  # not one after the other


def test_a_name_lookup_that_hangs_does_not_hold_up(target, monkeypatch):
    released = threading.Event()

    def hang(*arguments, **options):
        released.wait(10)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        fetch(target, "https://one.invalid/a", "https://two.invalid/a")
    assert time.monotonic() - started < 1.2
    released.set()


# --- servers of bad manners --------------------------------------------------------------------------------

BAD_MANNERS: dict[str, tuple[dict[str, Any], str]] = {
    "a byte now and then": ({"drips_body": 0.05}, "no answer in time"),
    "headers a byte now and then": ({"drips_headers": 0.05}, "no answer in time"),
    "without end": ({"endless": True, "announces_size": False}, "sends more than 300,000 bytes"),
    "announces too much": ({"announced": 10**9}, "offers 1,000,000,000 bytes instead of 300,000"),
    "announces too little": ({"announced": 1000}, "offers 1,000 bytes instead of 300,000"),
    "announces nonsense": ({"announced": -(10**30), "content": b"x"}, "broke off"),
    "compresses": ({"content": gzip.compress(bytes(10**7)), "content_encoding": "gzip"}, "compresses"),
    "to a file": ({"status": 302, "redirect_to": "file:///etc/passwd"}, "no https address"),
    "to nonsense": ({"status": 302, "redirect_to": "https://[/"}, ""),
    "in circles": ({"status": 302, "redirect_to": "/file"}, "redirects without end"),
}


@pytest.mark.parametrize("manners", BAD_MANNERS)
def test_bad_manners_end_soon_and_the_next_source_is_used(serve, target, manners, monkeypatch):
    monkeypatch.setattr(download_module, "CHUNK_SECONDS", 0.6)
    behaviour, reason = BAD_MANNERS[manners]
    bad = serve(**behaviour)
    started = time.monotonic()
    with pytest.raises(Unavailable) as failed:
        fetch(target, bad, size=len(CONTENT))
    assert reason in str(failed.value)
    assert time.monotonic() - started < 5
    fetch(target, bad, serve(), size=len(CONTENT), sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_where_the_size_is_not_known_there_is_a_most(serve, target):
    endless = serve(endless=True, announces_size=False)
    with pytest.raises(Unavailable, match="sends more than 1,000,000 bytes"):
        fetch(target, endless, largest=1_000_000)
    assert endless.sent < 30_000_000  # what the sockets buffer is sent, but not read
    assert list(target.parent.iterdir()) == []
    with pytest.raises(Unavailable, match="offers 300,000 bytes, more than 299,999"):
        fetch(target, serve(), largest=299_999)
    fetch(target, serve(), largest=300_000)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_part_that_is_a_link_is_not_written_through(serve, target, tmp_path, link):
    elsewhere = tmp_path / "precious"
    elsewhere.write_bytes(b"precious")
    target.parent.mkdir()
    link(elsewhere, part_of(target))
    fetch(target, serve(), size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert elsewhere.read_bytes() == b"precious"
    assert not target.is_symlink()


def test_a_link_that_appears_meanwhile_is_not_written_through(serve, target, tmp_path, monkeypatch):
    target.parent.mkdir()
    (tmp_path / "precious").write_bytes(b"")
    part_of(target).symlink_to(tmp_path / "precious")
    monkeypatch.setattr(download_module, "_keep_only_a_file", lambda part: None)
    with pytest.raises(Unavailable, match="could not be stored"):
        fetch(target, serve())
    assert (tmp_path / "precious").read_bytes() == b""


def test_a_part_that_is_a_pipe_does_not_hold_up(serve, target):
    target.parent.mkdir()
    os.mkfifo(part_of(target))
    fetch(target, serve())
    assert target.read_bytes() == CONTENT


def test_a_good_first_source_does_not_wait_for_the_second(serve, target, silent_server, monkeypatch):
    monkeypatch.setattr(download_module, "PROBE_SECONDS", 5.0)
    started = time.monotonic()
    fetch(target, serve(), silent_server)
    assert time.monotonic() - started < 3.0


def test_a_folder_that_cannot_be_written_is_unavailable(serve, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="the test file could not be stored"):
        fetch(tmp_path / "cache" / "file.bin", serve())


def test_https_only(target):
    with pytest.raises(ValueError, match="https"):
        fetch(target, "http://example.org/file")
