"""Downloads that resume, check what they got, and find out within seconds that there is no network."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
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

from headtohead.core.errors import InputError, Unavailable
from headtohead.core.files import sha256_of

PROBE_SECONDS = 4.0
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0  # the longest silence in the middle of a file
RETRIES = 6  # per source, and only after an attempt in which bytes arrived
FIRST_PAUSE_SECONDS = 0.5  # doubled from retry to retry
CHUNK_BYTES = 64 * 1024  # a chunk that the connection cuts short is lost, so not too large
# Without this a server may compress what it sends, and sizes and ranges would count the compressed bytes.
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "headtohead"}


class _SourceFailed(Exception):
    """Why one source did not give the file, in a few words."""


def reachable(urls: Sequence[str], seconds: float = PROBE_SECONDS) -> list[str]:
    """The urls, in the given order, whose server answers; returns after ``seconds`` at latest."""
    return [url for url, failure in _probe(urls, seconds) if failure is None]


def download(
    urls: Sequence[str],
    target: Path,
    *,
    description: str,
    size: int | None = None,
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
        with _progress_bar() as progress:
            task = progress.add_task(description, total=size)

            def show(have: int, of: int | None) -> None:
                progress.update(task, completed=have, total=of)

            for url, failure in _probe(urls, PROBE_SECONDS):
                try:
                    if failure is not None:
                        raise _SourceFailed(failure)
                    _fetch(url, part, size, sha256, show)
                    _accept(part, check)
                except _SourceFailed as failed:
                    failures.append(f"{url} ({failed})")
                    continue
                part.replace(target)
                return target
    except OSError as error:
        reason = error.strerror or error
        raise Unavailable(f"{description} could not be stored as {target}: {reason}") from error
    raise Unavailable(f"{description} could not be downloaded from {' or '.join(failures)}")


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


def _fetch(url: str, part: Path, size: int | None, sha256: str | None, report: Report) -> None:
    """Bring ``part`` to the whole, checked file; an older part that turns out wrong is fetched anew."""
    resumed = part.exists()
    _fetch_all_bytes(url, part, size, report)
    if sha256 is None or sha256_of(part) == sha256:
        return
    part.unlink()
    if not resumed:
        raise _SourceFailed("it sends other bytes than expected: the sha256 differs")
    _fetch(url, part, size, sha256, report)


def _accept(part: Path, check: Callable[[Path], object] | None) -> None:
    try:
        if check is not None:
            check(part)
    except InputError as error:
        part.unlink()
        raise _SourceFailed(str(error)) from error


def _fetch_all_bytes(url: str, part: Path, size: int | None, report: Report) -> None:
    """Request until ``part`` is complete; go on after a break only if the attempt had brought new bytes."""
    for attempt in range(RETRIES + 1):
        before = _size_of(part)
        if part.exists() and before == size:
            return
        if attempt:
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            _request_rest(url, part, size, report)
            return
        except requests.RequestException as error:
            if _size_of(part) <= before or attempt == RETRIES:
                raise _SourceFailed(_reason(error)) from error


def _request_rest(url: str, part: Path, size: int | None, report: Report) -> None:
    """One request: append what ``part`` lacks, or write it anew where the server does not continue it."""
    have = _size_of(part)
    if size is not None and have > size:
        part.unlink()
        have = 0
    headers = HEADERS | ({"Range": f"bytes={have}-"} if have else {})
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
        continues = response.status_code == 206 and _range_start(response.headers) == have
        if have and not continues and response.status_code in (206, 416):
            part.unlink()  # this part does not fit what the server has now
            return _request_rest(url, part, size, report)
        if response.status_code != 200 and not continues:
            raise _SourceFailed(f"HTTP {response.status_code} {response.reason}")
        _check_reply(response)
        have = have if continues else 0
        total = _announced_size(response.headers, have)
        if size is not None and total is not None and total != size:
            raise _SourceFailed(f"it offers {total:,} bytes instead of {size:,}")
        with part.open("ab" if continues else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                report(have, size or total)
    expected = size if size is not None else total
    if expected is not None and have != expected:
        raise requests.exceptions.ChunkedEncodingError(f"{have} of {expected} bytes")


def _check_reply(response: requests.Response) -> None:
    if not _is_trusted(response.url):
        raise _SourceFailed(f"it redirects to {response.url}, which is not https")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _SourceFailed("it answers with a web page instead of the file")


def _range_start(headers: Mapping[str, str]) -> int | None:
    """The first byte of a partial reply: ``Content-Range: bytes 100-199/200`` gives 100."""
    unit, _, span = headers.get("Content-Range", "").partition(" ")
    start = span.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdigit() else None


def _announced_size(headers: Mapping[str, str], have: int) -> int | None:
    length = headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
