"""Which encoding a text file has: told by its byte-order mark, else UTF-8, else Windows-1252 where that is possible."""

import codecs

from headtohead.core.errors import InputError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NAMES = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-32": "UTF-32"}
# What Western texts have outside of ASCII; other bytes speak for another encoding or for damage.
WESTERN = frozenset(
    "€‚„…‘’“”•–—™ ¡£§©«®°´·»¿×ß" + "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜ" + "àáâãäåæçèéêëìíîïñòóôõöøùúûüÿœŒŠšŽž"
)


def decode(content: bytes, file: str) -> tuple[str, str]:
    """A file's text, with line breaks as ``\\n``, and its encoding's name.

    Raises:
        InputError: none of the encodings fits; names the byte that is no UTF-8.
    """
    text, name = _decode(content, file)
    return text.replace("\r\n", "\n").replace("\r", "\n"), name


def _decode(content: bytes, file: str) -> tuple[str, str]:
    marked = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(marked), NAMES[marked]
    except UnicodeDecodeError as error:
        if marked != "utf-8-sig":
            raise InputError(
                f"{file} begins as {NAMES[marked]} but is not: {error.reason}; save it as UTF-8"
            ) from error
        western = _western(content)
        if western is not None:
            return western, "Windows-1252"
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file} is not UTF-8: byte {content[error.start]:#04x} at offset {error.start} (line {line}); "
            "convert it, for example with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE`"
        ) from error


def _western(content: bytes) -> str | None:
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return text if all(letter.isascii() or letter in WESTERN for letter in set(text)) else None
