"""Finding the messages: cache, download, local files and zips, and the sentence when there are none."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from headtohead.core import sources
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.readers import archive

CONTENT = b"ham\tHi\nspam\tWin!\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, a small stand-in for the collection's published hash, and no network."""
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "SMS_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(sources, "download_file", refuse)
    return tmp_path / "cache" / "data"


def refuse(urls, target, **options):
    raise Unavailable(f"not downloaded from {' or '.join(urls)}")


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def serve_zip(members: dict[str, bytes]):
    """A stand-in for the download that writes a zip and lets the caller's check look at it."""

    def download(urls, target, *, description, check):
        assert urls == sources.SMS_URLS
        zip_of(target, members)
        check(target)
        return target

    return download


def error_of(data: object) -> str:
    with pytest.raises(InputError) as failed:
        sources.find(str(data))
    assert "\n" not in str(failed.value)
    return str(failed.value)


@pytest.mark.parametrize("name", [None, "sms_spam"])
def test_downloads_once_and_keeps_only_the_collection(monkeypatch, cache, name):
    monkeypatch.setattr(sources, "download_file", serve_zip({"readme": b"x", "SMSSpamCollection": CONTENT}))
    found = sources.find(name)
    assert (found.name, found.content, found.is_demo) == ("sms_spam", CONTENT, False)
    assert "CC BY 4.0" in found.description
    assert [path.name for path in cache.iterdir()] == ["SMSSpamCollection"]
    monkeypatch.setattr(sources, "download_file", refuse)
    assert sources.find(name).content == CONTENT


def test_a_damaged_cache_is_downloaded_again(monkeypatch, cache):
    cache.mkdir(parents=True)
    (cache / "SMSSpamCollection").write_bytes(CONTENT[:-1])
    monkeypatch.setattr(sources, "download_file", serve_zip({"SMSSpamCollection": CONTENT}))
    assert sources.find(None).content == CONTENT


def test_other_content_is_refused(monkeypatch, cache):
    monkeypatch.setattr(sources, "download_file", serve_zip({"SMSSpamCollection": CONTENT + b"x"}))
    with pytest.raises(InputError, match="sha256"):
        sources.find(None)
    assert not (cache / "SMSSpamCollection").exists()


def test_no_network_names_sources_and_fix():
    with pytest.raises(Unavailable) as failed:
        sources.find("sms_spam")
    for word in (*sources.SMS_URLS, "--data FILE", "--data demo"):
        assert word in str(failed.value)


def test_no_download_where_it_is_off(monkeypatch):
    monkeypatch.setattr(sources, "download_file", lambda *arguments, **options: pytest.fail("downloaded"))
    with pytest.raises(Unavailable, match="downloads are off"):
        sources.find(None, download=False)


def test_local_file(tmp_path):
    path = tmp_path / "mails.csv"
    path.write_bytes(b"label,text\n")
    found = sources.find(str(path))
    assert (found.name, found.content, found.is_demo) == ("mails", b"label,text\n", False)


def test_a_local_copy_of_the_collection_is_recognised(tmp_path):
    path = tmp_path / "my_copy.txt"
    path.write_bytes(CONTENT)
    assert sources.find(str(path)).name == "sms_spam"
    assert sources.find(str(zip_of(tmp_path / "a.zip", {"x/SMSSpamCollection": CONTENT}))).name == "sms_spam"


@pytest.mark.parametrize("file_name", ["mails.zip", "mails.bin"])
def test_zip_with_one_table(tmp_path, file_name):
    path = zip_of(
        tmp_path / file_name, {"d/": b"", "d/a.CSV": b"table", "notes.txt": b"", "__MACOSX/a.csv": b""}
    )
    assert sources.find(str(path)).content == b"table"


@pytest.mark.parametrize("members", [{"a.csv": b"", "b.tsv": b""}, {"a.txt": b""}, {}])
def test_zip_without_exactly_one_table(tmp_path, members):
    message = error_of(zip_of(tmp_path / "mails.zip", members))
    assert "exactly one" in message
    assert (", ".join(members) or "nothing") in message


@pytest.mark.parametrize("name", ["../../escaped.csv", "/tmp/escaped.csv", "C:\\escaped.csv"])
def test_names_in_a_zip_become_no_paths(tmp_path, name):
    path = zip_of(tmp_path / "inner" / "mails.zip", {name: b"table"})
    assert sources.find(str(path)).content == b"table"
    assert not list(tmp_path.rglob("*escaped.csv"))


def test_a_link_in_a_zip_is_not_followed(tmp_path):
    (tmp_path / "secret.csv").write_bytes(b"secret")
    link = zipfile.ZipInfo("a.csv")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "mails.zip", "w") as archive:
        archive.writestr(link, str(tmp_path / "secret.csv"))
    assert sources.find(str(tmp_path / "mails.zip")).content == str(tmp_path / "secret.csv").encode()


def test_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_FILE", 1000)
    path = zip_of(tmp_path / "mails.zip", {"a.csv": b"x" * 1001})
    assert "more than 1,000 bytes" in error_of(path)
    assert sources.find(str(zip_of(tmp_path / "b.zip", {"a.csv": b"x" * 1000}))).content == b"x" * 1000


def test_damaged_zip(tmp_path):
    whole = zip_of(tmp_path / "mails.zip", {"a.csv": bytes(range(256)) * 20}).read_bytes()
    damages = {
        "cut": whole[:-30],
        "flipped": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
        "none": b"no zip at all",
        "empty": b"",
    }
    for name, content in damages.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(content)
        assert f"{name}.zip is no zip file that can be read" in error_of(path)


def test_missing_file():
    assert "there is no such file" in error_of("nowhere/mails.csv")
    assert "did you mean demo?" in error_of("dmeo")
    assert "did you mean sms_spam?" in error_of("sms-spam")


def test_folder(tmp_path):
    assert "is a folder" in error_of(tmp_path)


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "mails.csv"
    path.write_bytes(b"x")

    def denied(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    assert f"reading the messages is not possible ({path}: Permission denied)" in error_of(path)


def test_a_file_without_end(monkeypatch):
    monkeypatch.setattr(sources, "LARGEST_FILE", 1000)
    assert "/dev/zero is larger than 1,000 bytes" in error_of("/dev/zero")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\x1b[31m/\n", "\udcff"])
def test_names_that_no_file_can_have(name):
    assert error_of(name).isprintable()


def test_a_cache_that_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "file"))
    assert "the cache folder" in error_of("sms_spam")
