"""Where labelled messages come from: the SMS Spam Collection, the demo corpus, or a file of the user's.

sources.find(None)          the SMS Spam Collection, from the cache or else downloaded
sources.find("demo")        the corpus that lies beside this file
sources.find("mails.csv")   a local file, or a zip that holds one
"""

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headtohead.core.download import download as download_file
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.files import CACHE_FIX, cache_dir, file_errors, sha256_of, write_bytes_atomic
from headtohead.core.readers import USUAL_SUFFIX, archive, formats
from headtohead.core.readers.rows import LARGEST_FILE

SMS_NAME = "sms_spam"
SMS_MEMBER = "SMSSpamCollection"
SMS_SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
SMS_CREDIT = "SMS Spam Collection (Almeida and Hidalgo, UCI, https://doi.org/10.24432/C5CC84, CC BY 4.0)"
SMS_URLS = (
    "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
    "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
)
IMDB_NAME = "imdb"
IMDB_FILE = "aclImdb_v1.tar.gz"
IMDB_SIZE = 84_125_825  # bytes
IMDB_SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
IMDB_URLS = ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",)
IMDB_CREDIT = (
    "Large Movie Review Dataset v1.0 (Maas et al. 2011, https://ai.stanford.edu/~amaas/data/sentiment/)"
)
DEMO_NAME = "demo"
DEMO_FILE = Path(__file__).parent / "demo" / "messages.tsv"
DEMO_CREDIT = "DEMO messages, written by hand for headtohead (MIT)"


@dataclass(frozen=True)
class Source:
    """The bytes of a table of messages and what is known about them.

    ``name`` is "sms_spam", "demo" or the file's stem, ``file`` is how errors name it, ``description`` is one
    sentence without a full stop on where it came from, with the licence where that is known. ``suffix`` tells
    the format (see core.readers).
    """

    name: str
    file: str
    description: str
    content: bytes
    suffix: str = USUAL_SUFFIX
    is_demo: bool = False


def find(data: str | None, *, download: bool = True) -> Source:
    """The messages that ``data`` names: None or "sms_spam", "demo", or the path of a file.

    Raises:
        Unavailable: the SMS Spam Collection is not in the cache and cannot be downloaded.
        InputError: the file does not exist or cannot be read.
    """
    with file_errors(
        "reading the messages", "check the file and its permissions, or give another with --data"
    ):
        if data is None or data == SMS_NAME:
            return _sms_collection(download)
        if data == DEMO_NAME:
            return Source(DEMO_NAME, str(DEMO_FILE), DEMO_CREDIT, _read(DEMO_FILE), is_demo=True)
        return _local_file(data)


def imdb_archive(download: bool) -> Path:
    """Stanford's archive of the movie reviews in the cache folder, downloaded and verified where it is missing.

    Raises:
        Unavailable: it is not there and cannot be downloaded.
    """
    path = cache_dir() / "data" / IMDB_FILE
    if path.is_file() and is_imdb(path):
        return path
    fix = f"give a local copy with --data {IMDB_FILE}"
    if not download:
        raise Unavailable(f"IMDb's reviews are not in {path.parent} and downloads are off; {fix}")
    try:
        return download_file(
            IMDB_URLS, path, description="IMDb's reviews", size=IMDB_SIZE, sha256=IMDB_SHA256
        )
    except Unavailable as error:
        raise Unavailable(f"{error}; {fix}") from error


def is_imdb(path: Path) -> bool:
    """Whether a file is Stanford's archive, byte for byte."""
    return path.stat().st_size == IMDB_SIZE and sha256_of(path) == IMDB_SHA256


def _sms_collection(download: bool) -> Source:
    path = cache_dir() / "data" / SMS_MEMBER
    if not (path.is_file() and sha256_of(path) == SMS_SHA256):
        _download_sms_collection(path, download)
    return Source(SMS_NAME, str(path), SMS_CREDIT, _read(path))


def _download_sms_collection(path: Path, download: bool) -> None:
    fix = f"give a local copy with --data FILE ({SMS_MEMBER} or UCI's zip) or use --data demo"
    if not download:
        raise Unavailable(f"the SMS Spam Collection is not in {path.parent} and downloads are off; {fix}")
    downloaded = path.with_name("sms_spam_collection.zip")
    try:
        download_file(SMS_URLS, downloaded, description="the SMS Spam Collection", check=_checked_sms_member)
    except Unavailable as error:
        raise Unavailable(f"{error}; {fix}") from error
    with file_errors(f"keeping the SMS Spam Collection in {path.parent}", CACHE_FIX):
        write_bytes_atomic(path, _checked_sms_member(downloaded))
        downloaded.unlink()


def _checked_sms_member(path: Path) -> bytes:
    """The collection out of UCI's zip. The zip's own hash is not published, that of the member is known."""
    _, content = archive.unpack(path, SMS_MEMBER, ())
    found = hashlib.sha256(content).hexdigest()
    if found != SMS_SHA256:
        raise InputError(f"its {SMS_MEMBER} has sha256 {found} instead of {SMS_SHA256}")
    return content


def _local_file(data: str) -> Source:
    path = Path(data).expanduser()
    if not path.exists():
        raise InputError(f"--data {data}: there is no such file; {_what_is_allowed(data)}")
    if path.is_dir():
        raise InputError(f"--data {data} is a folder; name the file in it that holds the messages")
    content, suffix = _read(path), path.suffix
    if suffix.lower() == ".zip" or content.startswith(b"PK\x03\x04"):
        member, content = archive.unpack(path, SMS_MEMBER, formats())
        suffix = PurePosixPath(member).suffix
    if hashlib.sha256(content).hexdigest() == SMS_SHA256:
        return Source(SMS_NAME, data, SMS_CREDIT, content)
    return Source(path.stem, data, f"the local file {path.name}", content, suffix)


def _what_is_allowed(data: str) -> str:
    names = (SMS_NAME, IMDB_NAME, DEMO_NAME)
    similar = difflib.get_close_matches(data.lower(), names, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    return (
        f"{hint}allowed are {', '.join(names)}, hf:NAME, or the path of a {', '.join(formats())} or .zip file or of a "
        "folder with one folder of .txt files per class"
    )


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise InputError(
            f"{path} is larger than {LARGEST_FILE:,} bytes, the most that is read; give a smaller table"
        )
    return content
