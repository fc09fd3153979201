"""Reading labelled messages: what is understood, and what is refused with which words."""

import functools
import io
import zipfile

import pandas as pd
import pytest

from headtohead.core import readers, sources
from headtohead.core.errors import InputError
from headtohead.core.readers import formats, read_labelled_texts
from tests.paths import SMS, WHY_SKIPPED


def read(table: str | bytes, **columns) -> list[tuple[str, str]]:
    content = table.encode() if isinstance(table, str) else table
    return [(row.label, row.text) for row in read_labelled_texts(content, "mails.csv", **columns)]


def error_of(table: str | bytes, **columns) -> str:
    with pytest.raises(InputError) as failed:
        read(table, **columns)
    message = str(failed.value)
    assert "mails.csv" in message
    assert "\n" not in message
    return message


TWO = [("ham", "Hi, you"), ("spam", "Win!")]


@pytest.mark.parametrize(
    "table",
    [
        'label,text\nham,"Hi, you"\nspam,Win!\n',
        'label,text\r\nham,"Hi, you"\r\nspam,Win!',
        '\ufefflabel,text\nham,"Hi, you"\n\nspam,Win!\n\n',
        "Text\tLABEL\nHi, you\tham\nWin!\tspam\n",
        'v1,v2,,,\nham,"Hi, you",,,\nspam,Win!,,,\n',
        "id;Message; Category \n1;Hi, you;ham\n2;Win!;spam\n",
        "ham\tHi, you\nspam\tWin!\n",
        "spam\ttext\nham\tHi, you\nspam\tWin!\n",
        "sep=;\nlabel;text\nham;Hi, you\nspam;Win!\n",
        "\ufeffText;Label;a,b,c,d\nHi, you;ham\nWin!;spam\n",
        '"a,b,c;d";text;label\n;Hi, you;ham\n;Win!;spam\n',
        "label|text\nham|Hi, you\nspam|Win!\n",
        "label\ttext\r\nham\tHi, you\r\nspam\tWin!\r\n".encode("utf-16"),
    ],
)
def test_understood(table):
    assert read(table) == TWO


def test_chosen_columns():
    table = 'label,text,kind,words\nx,y,ham,"Hi, you"\nx,y,spam,Win!\n'
    assert read(table, label_column="kind", text_column="Words") == TWO


@pytest.mark.parametrize("text", ["NA", "null", "nan", "None", "-1.50", "True", ' "quoted" ', "a\nb"])
def test_text_stays_text(text):
    quoted = text.replace('"', '""')
    assert read(f'label,text\nham,"{quoted}"\n') == [("ham", text)]


def test_line_breaks_inside_a_message_are_unified():
    assert read('label,text\r\nham,"a\r\nb"\r\n') == [("ham", "a\nb")]


@pytest.mark.skipif(not SMS.is_file(), reason=WHY_SKIPPED)
def test_rows_are_those_of_pandas():
    content = SMS.read_bytes()
    expected = pd.read_csv(io.BytesIO(content), sep="\t", header=None, keep_default_na=False)
    assert read(content) == list(expected.itertuples(index=False, name=None))


def test_quoting_is_that_of_pandas():
    table = 'label,text\na,"x ""y"" z"\nb,x "y" z\nc,"x" y\nd,"x\ny"\n'
    expected = pd.read_csv(io.StringIO(table))
    assert read(table) == list(expected.itertuples(index=False, name=None))


@pytest.mark.parametrize("table", ["", "\n\n", "\ufeff", "  \n"])
def test_empty(table):
    assert "is empty" in error_of(table)


def test_header_only():
    assert "no rows" in error_of("label,text\n")


def test_missing_label_column_lists_what_is_there():
    message = error_of("sender,text\nbob,hi\n")
    assert "sender, text" in message
    assert "--label-column" in message


def test_missing_text_column():
    message = error_of("label,payload\nham,hi\n")
    assert "label, payload" in message
    assert "--text-column" in message


def test_no_header():
    assert "add a header" in error_of("positive\tgreat film\nnegative\tbad film\n")


def test_unknown_chosen_column():
    message = error_of("label,text\nham,hi\n", text_column="txt")
    assert "no column 'txt'" in message
    assert "label, text" in message
    assert "did you mean 'text'?" in message


def test_ambiguous_columns():
    assert "label, class; choose one with --label-column" in error_of("label,class,text\na,b,c\n")
    assert "text, body; choose one with --text-column" in error_of("label,text,body\na,b,c\n")
    assert "text, text; choose one" in error_of("label,text,text\na,b,c\n", text_column="text")


def test_one_column_for_both():
    assert "cannot both" in error_of("label,text\na,b\n", label_column="text")


@pytest.mark.parametrize(
    "table", ["label,text\nham,hi\nham,\n", "label,text\nham,hi\nham\n", "ham\thi\n\nham\t \n"]
)
def test_missing_text_names_the_line(table):
    assert f"line {table.count(chr(10))} has no text" in error_of(table)


def test_missing_label_names_the_line():
    assert "line 5 has no label" in error_of('label,text\nham,"a\nb\nc"\n,hello\n')


def test_too_many_cells():
    assert "line 2 has 3 cells for 2 columns" in error_of("label,text\nham,Hi, you\n")


def test_unclosed_quote():
    message = error_of('label,text\nham,hi\nspam,"Win\nham,bye\n')
    assert "line 3" in message
    assert "never closed" in message


def test_endless_cell():
    assert "line 2" in error_of(f'label,text\nspam,"{"Win " * 50_000}\nham,bye\n')


def test_broken_utf8_names_offset_and_line():
    message = error_of(b"label,text\nham,caf\x81\n")
    assert "0x81 at offset 18 (line 2)" in message
    assert "iconv" in message


NEW_FORMAT = """
from headtohead.core.readers.rows import LabelledText

SUFFIXES = (".pairs",)


def read(content, file, columns):
    return [LabelledText(*line.split("=")) for line in content.decode().splitlines()]
"""


def test_a_new_format_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "pairs.py").write_text(NEW_FORMAT)
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path)])
    monkeypatch.setattr(readers, "formats", functools.cache(formats.__wrapped__))
    assert read(b"ham=Hi, you\nspam=Win!", suffix=".Pairs") == TWO
    (tmp_path / "mails.pairs").write_bytes(b"ham=Hi, you\nspam=Win!")
    with zipfile.ZipFile(tmp_path / "mails.zip", "w") as archive:
        archive.write(tmp_path / "mails.pairs", "mails.pairs")
    monkeypatch.setattr(sources, "formats", readers.formats)
    for name in ("mails.pairs", "mails.zip"):
        found = sources.find(str(tmp_path / name))
        assert read(found.content, suffix=found.suffix) == TWO
