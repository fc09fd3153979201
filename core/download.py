"""Downloads that resume, check what they got, and find out within seconds that there is no network.

A server is not trusted: it cannot make a download last for ever, fill the disk, or write anywhere else.
"""

import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from urllib3.exceptions import HTTPError

from headtohead.core.errors import InputError, Unavailable
from headtohead.core.files import CACHE_FIX, sha256_of

PROBE_SECONDS = 4.0
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0  # the longest silence in the middle of a file
CHUNK_SECONDS = 30.0  # in which CHUNK_BYTES must arrive: a server that sends a byte now and then is given up
RETRIES = 6  # per source, and only after an attempt in which bytes arrived
FIRST_PAUSE_SECONDS = 0.5  # doubled from retry to retry
CHUNK_BYTES = 64 * 1024  # a chunk that the connection cuts short is lost, so not too large
LARGEST_FILE = 50_000_000  # bytes, where the size is not known beforehand
# Without this a server may compress what it sends, and sizes and ranges would count the compressed bytes.
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "headtohead"}


class _SourceFailed(Exception):
    """Why one source did not give the file, in a few words."""


def download(
    urls: Sequence[str],
    target: Path,
    *,
    description: str,
    size: int | None = None,
    largest: int = LARGEST_FILE,
    sha256: str | None = None,
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Fetch one file from the first of several sources that has it whole.

    What arrived before a break is kept in ``<target>.part`` and continued, by a later call too.

    Args:
        urls: the same file at several sources, the preferred one first.
        target: where the file lies afterwards; it appears there only when it is whole and checked.
        description: a few words for the progress bar and the error.
        size: the expected number of bytes; without it the size that the server announces is checked.
        largest: the most bytes that are taken where ``size`` is None.
        sha256: the expected hash in hex.
        check: looks at the file and raises InputError where it is not the right one; then the next source is
            tried.

    Raises:
        Unavailable: no source gave the file; one sentence, without a full stop, that names each and why.
    """
    for url in urls:
        if not _is_trusted(url):
            raise ValueError(f"{url!r} is not an https address; downloads are made over https only")
    part = target.with_name(target.name + ".part")
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _keep_only_a_file(part)
        with _progress_bar() as progress:
            task = progress.add_task(description, total=size)

            def show(have: int, of: int | None) -> None:
                progress.update(task, completed=have, total=of)

            for url, failure in _probe(urls, PROBE_SECONDS):
                try:
                    if failure is not None:
                        raise _SourceFailed(failure)
                    _fetch(url, part, Limits(size, size if size is not None else largest), sha256, show)
                    _accept(part, check)
                except _SourceFailed as failed:
                    failures.append(f"{url} ({failed})")
                    continue
                part.replace(target)
                return target
    except OSError as error:
        reason = error.strerror or error
        raise Unavailable(f"{description} could not be stored as {target}: {reason} ({CACHE_FIX})") from error
    raise Unavailable(f"{description} could not be downloaded from {' or '.join(failures)}")


def _keep_only_a_file(part: Path) -> None:
    """Remove what is no plain file of its own: a link would have what is downloaded written elsewhere."""
    if os.path.lexists(part):
        status = part.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            part.unlink()


def _is_trusted(url: str) -> bool:
    address = urlsplit(url)
    return address.scheme == "https" or address.hostname == "127.0.0.1"


def _progress_bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def _probe(urls: Sequence[str], seconds: float) -> Iterator[tuple[str, str | None]]:
    """Yield (url, None or why its server does not answer) in order, each as soon as that is known.

    All servers are asked at once. The threads are daemons because a name lookup that hangs obeys no timeout:
    it is left behind when the time is over.
    """
    findings: dict[str, str | None] = {}

    def ask(server: str, url: str) -> None:
        try:
            requests.head(url, timeout=seconds, headers=HEADERS, allow_redirects=False).close()
            findings[server] = None
        except requests.RequestException as error:
            findings[server] = _reason(error)

    deadline = time.monotonic() + seconds
    threads: dict[str, threading.Thread] = {}
    for url in urls:
        server = urlsplit(url).netloc
        if server not in threads:
            threads[server] = threading.Thread(target=ask, args=(server, url), daemon=True)
            threads[server].start()
    for url in urls:
        server = urlsplit(url).netloc
        threads[server].join(max(0.0, deadline - time.monotonic()))
        yield url, findings.get(server, f"no answer within {seconds:g} s")


def _reason(error: requests.RequestException) -> str:
    """A failed request in a few words; the library's own texts run over several lines."""
    text = str(error)
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
        return "it redirects to what is no https address"
    if isinstance(error, requests.TooManyRedirects):
        return "it redirects without end"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let it through"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate was not accepted"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "no answer in time"
    if "resolve" in text or "getaddrinfo" in text:
        return "its name was not found, no network?"
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or "IncompleteRead" in text:
        return "the connection broke off"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


Report = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Limits:
    """``size``: the expected bytes, None where unknown; ``largest``: the most that are taken."""

    size: int | None
    largest: int


def _fetch(url: str, part: Path, limits: Limits, sha256: str | None, report: Report) -> None:
    """Bring ``part`` to the whole, checked file; an older part that turns out wrong is fetched anew."""
    resumed = part.exists()
    _fetch_all_bytes(url, part, limits, report)
    if sha256 is None or sha256_of(part) == sha256:
        return
    part.unlink()
    if not resumed:
        raise _SourceFailed("it sends other bytes than expected: the sha256 differs")
    _fetch(url, part, limits, sha256, report)


def _accept(part: Path, check: Callable[[Path], object] | None) -> None:
    try:
        if check is not None:
            check(part)
    except InputError as error:
        part.unlink()
        raise _SourceFailed(str(error)) from error


def _fetch_all_bytes(url: str, part: Path, limits: Limits, report: Report) -> None:
    """Request until ``part`` is complete; go on after a break only if the attempt had brought new bytes."""
    for attempt in range(RETRIES + 1):
        before = _size_of(part)
        if part.exists() and before == limits.size:
            return
        if attempt:
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            _request_rest(url, part, limits, report)
            return
        except requests.RequestException as error:
            if _size_of(part) <= before or attempt == RETRIES:
                raise _SourceFailed(_reason(error)) from error


def _request_rest(url: str, part: Path, limits: Limits, report: Report) -> None:
    """One request: append what ``part`` lacks, or write it anew where the server does not continue it."""
    if _size_of(part) > limits.largest:
        part.unlink()
    have = _size_of(part)
    with closing(_receive(url, HEADERS | ({"Range": f"bytes={have}-"} if have else {}))) as arriving:
        response, chunks = next(arriving)[0], (chunk for _, chunk in arriving)
        continues = response.status_code == 206 and _range_start(response.headers) == have
        if have and not continues and response.status_code in (206, 416):
            part.unlink()  # this part does not fit what the server has now
            return _request_rest(url, part, limits, report)
        if response.status_code != 200 and not continues:
            raise _SourceFailed(f"HTTP {response.status_code} {response.reason}")
        _check_reply(response)
        have = have if continues else 0
        total = _announced_size(response.headers, have)
        _check_size(total, limits)
        with _open_part(part, "ab" if continues else "wb") as file:
            for chunk in chunks:
                have += len(chunk)
                if have > limits.largest:
                    part.unlink()
                    raise _SourceFailed(f"it sends more than {limits.largest:,} bytes")
                file.write(chunk)
                report(have, limits.size or total)
    expected = limits.size if limits.size is not None else total
    if expected is not None and have != expected:
        raise requests.exceptions.ChunkedEncodingError(f"{have} of {expected} bytes")


def _receive(url: str, headers: Mapping[str, str]) -> Generator[tuple[requests.Response, bytes], None, None]:
    """The reply to a GET with an empty chunk once its headers are there, then with each chunk of its body.

    A timeout of the library is one for each read from the socket, so a byte now and then keeps it waiting for
    ever. The reading is therefore done by a thread, which is left behind when a chunk takes too long.

    Raises:
        requests.RequestException: as the library does, and Timeout after :data:`CHUNK_SECONDS` without a chunk.
    """
    arrived: queue.Queue[tuple[requests.Response, bytes] | Exception | None] = queue.Queue(maxsize=8)
    stop = threading.Event()

    def read() -> None:
        try:
            timeout = (CONNECT_SECONDS, READ_SECONDS)
            with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
                arrived.put((response, b""))
                for chunk in response.iter_content(CHUNK_BYTES):
                    if stop.is_set():
                        return
                    arrived.put((response, chunk))
            arrived.put(None)
        except requests.RequestException as error:
            arrived.put(error)
        except (OSError, ValueError, HTTPError) as error:  # what the library forgets to wrap
            arrived.put(requests.ConnectionError(error))

    threading.Thread(target=read, daemon=True).start()
    try:
        while (item := arrived.get(timeout=CHUNK_SECONDS)) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    except queue.Empty:
        raise requests.Timeout(f"less than {CHUNK_BYTES:,} bytes in {CHUNK_SECONDS:g} s") from None
    finally:
        stop.set()
        while not arrived.empty():  # the thread may wait for a place in the queue
            arrived.get_nowait()


def _open_part(part: Path, mode: str) -> IO[bytes]:
    """Open for writing; where a link was put into its place meanwhile, an OSError."""

    def open_itself(path: str, flags: int) -> int:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    return open(part, mode, opener=open_itself)


def _check_reply(response: requests.Response) -> None:
    for each in (*response.history[1:], response):
        if not _is_trusted(each.url):
            raise _SourceFailed(f"it redirects to {each.url}, which is not https")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _SourceFailed("it compresses what it sends, unasked")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _SourceFailed("it answers with a web page instead of the file")


def _check_size(announced: int | None, limits: Limits) -> None:
    if announced is None:
        return
    if limits.size is not None and announced != limits.size:
        raise _SourceFailed(f"it offers {announced:,} bytes instead of {limits.size:,}")
    if announced > limits.largest:
        raise _SourceFailed(f"it offers {announced:,} bytes, more than {limits.largest:,}")


def _range_start(headers: Mapping[str, str]) -> int | None:
    """The first byte of a partial reply: ``Content-Range: bytes 100-199/200`` gives 100."""
    unit, _, span = headers.get("Content-Range", "").partition(" ")
    start = span.partition("-")[0]
    return int(start) if unit == "bytes" and start.isascii() and start.isdigit() and len(start) < 20 else None


def _announced_size(headers: Mapping[str, str], have: int) -> int | None:
    length = headers.get("Content-Length", "")
    return have + int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
