"""Documents and tokens (promises R11, R12): those of the script, or an error that says where.

Oracles: that expression itself, Python's csv and json writers, bytes written out by hand.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import string
import time
from pathlib import Path

import pytest
from helpers import TINY_FLAGS, command, in_child, session
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microgpt import cli, corpus
from microgpt.errors import ConfigError, DataError, InputError, PermissionDeniedError
from microgpt.tokenizer import Tokenizer

TEXT = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("ab \t\n\r\x0b\x0c\x1c\x85\u2028\u3000\0")
)


def as_the_script_reads(path: Path) -> list[str]:
    """The seed's expression, with the encoding that its author's machine has."""
    return [l.strip() for l in open(path, encoding="utf-8").read().strip().split("\n") if l.strip()]  # noqa: E741


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus") / "list.txt"


@settings(max_examples=1000, deadline=None)
@given(TEXT.filter(lambda text: not text.startswith("\ufeff")))
@example("a\r\nb\rc\n\n\x85d\x85e\u2028f\n")
@example("\x1c\n\x0b\n")
@example("\n\ufeffa")
def test_documents_are_what_the_scripts_own_expression_reads(path, text):
    path.write_bytes(text.encode())
    expected = as_the_script_reads(path)
    if expected:
        assert corpus.read([str(path)]).documents == expected
    else:
        with pytest.raises(DataError, match="there are no documents"):
            corpus.read([str(path)])


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, min_size=1))
def test_encoding_and_decoding_documents_is_the_identity(texts):
    try:
        documents = corpus.from_iterable(texts).documents
    except DataError:
        assert not "".join(texts).strip()
        return
    assert documents == [document for document in map(corpus.one_line, texts) if document]
    tokenizer = Tokenizer.from_documents(documents)
    assert tokenizer.vocab_size == len(set("".join(documents))) + 1
    for document in documents:
        tokens = tokenizer.encode(document)
        assert tokens[0] == tokens[-1] == tokenizer.bos
        assert max(tokens) < tokenizer.vocab_size
        assert min(tokens) >= 0
        assert tokenizer.decode(tokens) == document


def test_a_character_outside_the_alphabet_is_named_with_its_place():
    with pytest.raises(DataError) as raised:
        Tokenizer("abc").encode("ab\x1bc")
    assert "'\\x1b' (U+001B)" in str(raised.value)
    assert "character 3 of 'ab\\x1bc'" in str(raised.value)


# ---- R11: the matrix
# ------------------------------------------------------------------------------

FAMILY = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
READS = {
    "one line": (b"anna\n", ["anna"]),
    "one character": (b"a", ["a"]),
    "no final newline": (b"anna\nbob", ["anna", "bob"]),
    "blank lines": (b"\n\n anna \n\t\n\nbob\n\n", ["anna", "bob"]),
    "CRLF": (b"anna\r\nbob\r\n", ["anna", "bob"]),
    "lone CR": (b"anna\rbob\r", ["anna", "bob"]),
    "all line ends": (b"a\r\rb\n\rc\r\n\nd", ["a", "b", "c", "d"]),
    "byte order mark": (b"\xef\xbb\xbfanna\nbob", ["anna", "bob"]),
    "NUL": (b"an\0na\n\0\n", ["an\0na", "\0"]),
    "U+0085 and U+2028 are no line ends": ("an\x85na\u2028bob\n".encode(), ["an\x85na\u2028bob"]),
    "emoji": (f"{FAMILY}\n".encode(), [FAMILY]),
    "right to left": ("שלום\nمرحبا\n".encode(), ["שלום", "مرحبا"]),
    "control characters": (b"\x1b[31mred\n", ["\x1b[31mred"]),
}


@pytest.mark.parametrize("name", READS)
def test_the_text_is_read_as_documented_from_files_and_standard_input(tmp_path, monkeypatch, name):
    content, documents = READS[name]
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    assert corpus.read([str(path)]).documents == documents
    assert corpus.from_iterable(path).documents == documents
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
    assert corpus.read(["-"]).documents == documents
    assert corpus.read([str(path), str(path)], dedupe=True).documents == list(
        dict.fromkeys(documents)
    )


INVALID = {
    "a byte in line 2": (b"anna\nb\xff\n", 2, 2, 7),
    "cut in the last character": (b"anna\n\xe2\x82", 2, 1, 6),
    "after CRLF": (b"a\r\nb\r\nxy\xc0\xaf", 3, 3, 9),
    "after lone CRs": (b"a\rb\r\rxy\xed\xa0\x80", 4, 3, 8),
    "after a byte order mark": (b"\xef\xbb\xbfab\xff", 1, 6, 6),
    "UTF-16, little-endian": (b"\xff\xfe" + "anna\n".encode("utf-16-le"), 1, 1, 1),
    "UTF-16, big-endian": (b"\xfe\xff" + "anna\n".encode("utf-16-be"), 1, 1, 1),
    "UTF-32, little-endian": (b"\xff\xfe\0\0" + "anna\n".encode("utf-32-le"), 1, 1, 1),
    "UTF-32, big-endian": (b"\0\0\xfe\xff" + "anna\n".encode("utf-32-be"), 1, 3, 3),
    "Latin-1": ("x\nMünchen\n".encode("latin-1"), 2, 2, 4),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_utf8_names_line_and_byte(tmp_path, capsys, name):
    content, line, byte, of_file = INVALID[name]
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    assert cli.main(["train", str(path), "-o", str(tmp_path / "x.safetensors")]) == 65
    shown = capsys.readouterr().err
    assert (
        f"where: {path}, line {line}, byte {byte} of the line, byte {of_file} of the file" in shown
    )
    assert f"0x{content[of_file - 1]:02x}" in shown
    encoding = name[:6] if name.startswith("UTF") else "LATIN1"
    assert f"fix: convert it: iconv -f {encoding} -t UTF-8 {path} > converted.txt\n" in shown
    assert os.listdir(tmp_path) == ["list.txt"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b"anna"), "compressed with gzip"),
        (b"PK\x03\x04\xff", "a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\x02\0\0\0\0\0\0\0{}", ""),
        (b"\x10\0\0\0\0\0\0\0" + b'{"a":1}         \xff', "a safetensors file"),
        (b"a\0\xff", "binary data"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, content, kind):
    (tmp_path / "list").write_bytes(content)
    if not kind:
        assert corpus.read([str(tmp_path / "list")]).documents
        return
    with pytest.raises(DataError, match=f"the file is not text: it is {kind}") as raised:
        corpus.read([str(tmp_path / "list")])
    assert "iconv" not in raised.value.fix


@pytest.mark.parametrize(
    "content", [b"", b"\n", b" \n\t\r\n\x0b", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"]
)
def test_a_text_without_documents_is_a_data_error(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="there are no documents") as raised:
        corpus.read([str(path)])
    assert raised.value.where == str(path)


def test_what_is_no_file_is_an_input_error_and_never_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    os.mkdir("folder")
    os.symlink("loop", "loop")
    before = sorted(os.listdir())
    for name in ("fifo", "folder", "loop", "missing", "", "/dev/zero", "no\0thing"):
        assert cli.main(["train", name, "-q", "-o", "x.safetensors"]) == 66
        assert cli.main(["score", "x.safetensors", name]) == 66
        assert "Traceback" not in capsys.readouterr().err
    assert sorted(os.listdir()) == before


def test_an_unreadable_file_is_a_permission_error(tmp_path):
    path = Path("/tmp") / f"microgpt-unreadable-{os.getpid()}"
    path.write_text("anna")
    path.chmod(0)

    def read() -> int:
        if os.getuid() == 0:
            os.setresuid(65534, 65534, 65534)
        try:
            corpus.read([str(path)])
        except PermissionDeniedError as error:
            return error.exit_code
        return 0

    try:
        assert in_child(read) == 77
    finally:
        path.unlink()


def test_standard_input_may_be_a_pipe_and_closed_is_an_input_error(tmp_path, monkeypatch):
    ran = command(
        "train",
        "-",
        *TINY_FLAGS,
        "--steps",
        "1",
        "--samples",
        "0",
        cwd=tmp_path,
        input="anna\nbob\n",
    )
    assert ran.returncode == 0, ran.stderr
    assert os.listdir(tmp_path) == ["model.safetensors"]
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        corpus.read(["-"])


# ---- large and odd lists
# --------------------------------------------------------------------------


def test_a_line_of_10_mb_costs_about_a_second_at_most(tmp_path):
    path = tmp_path / "list.txt"
    line = "".join(random.Random(1).choices(string.ascii_lowercase, k=10_000)) * 1000
    path.write_text(f"anna\n{line}\n")
    began = time.process_time()
    documents = corpus.read([str(path)]).documents
    assert documents == ["anna", line]
    run = session(documents)
    while run.step < 4:
        next(run.run(lambda: False))
    assert (
        time.process_time() - began < 2.0
    )  # 0.3 s where measured; quadratic work would take hours


def test_a_list_of_20_000_different_letters_is_learned(tmp_path):
    letters = [chr(c) for c in range(0x4E00, 0x4E00 + 20_000)]
    documents = ["".join(letters[i : i + 100]) for i in range(0, 20_000, 100)]
    run = session(documents, n_embd=1, n_head=1, block_size=1, num_steps=1)
    assert run.tokenizer.vocab_size == 20_001
    (block,) = run.run(lambda: False)
    assert len(block) == 1
    assert run.checkpoint().tokenizer.alphabet == tuple(letters)


def test_a_million_lines_and_100_000_different_characters_are_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"anna\nbob\n" * 500_000)
    assert corpus.read([str(path)]).documents == ["anna", "bob"] * 500_000
    many = [chr(c) for c in range(0x20000, 0x20000 + 100_000)]
    path.write_text("\n".join(many), encoding="utf-8")
    assert Tokenizer.from_documents(corpus.read([str(path)]).documents).alphabet == tuple(many)


def test_documents_of_one_letter_one_document_and_long_ones_are_learned():
    for documents in (["a"], ["a"] * 5, ["aaaaaaaaaaaaaaaaaaaa"], ["anna"]):
        run = session(documents)
        assert sum(len(block) for block in run.run(lambda: False)) == 4


def test_nothing_left_to_train_on_is_a_config_error():
    with pytest.raises(ConfigError, match=r"holding out 0\.5 of 1 document leaves nothing"):
        session(["anna"], held_out=0.5)


# ---- iterables and columns
# ------------------------------------------------------------------------


def test_a_string_or_other_things_than_strings_are_type_errors():
    for wrong in ("anna", b"anna", ["anna", 5], ["anna", None], [float("nan")], 5):
        with pytest.raises(TypeError):
            corpus.from_iterable(wrong)
    with pytest.raises(DataError, match="lone surrogate"):
        corpus.from_iterable(["a\ud800"])


def assert_column(path: Path, expected: list[str]) -> None:
    if expected:
        assert corpus.read([str(path)], "title").documents == expected
    else:
        with pytest.raises(DataError, match="there are no documents"):
            corpus.read([str(path)], "title")


CELLS = st.lists(st.text(st.sampled_from('ab,;"\n\t ßé\u2028')), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(CELLS, st.sampled_from(",;\t"))
def test_a_column_of_a_table_is_what_the_csv_writer_wrote(path, cells, delimiter):
    table = io.StringIO()
    rows = csv.writer(table, delimiter=delimiter)
    rows.writerows([["id", "title"], *enumerate(cells)])
    path.write_bytes(table.getvalue().encode())
    assert_column(path, [document for document in map(corpus.one_line, cells) if document])


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8), st.booleans())
def test_a_column_of_json_lines_is_what_the_json_writer_wrote(path, texts, ascii_only):
    lines = [json.dumps({"id": 1, "title": text}, ensure_ascii=ascii_only) for text in texts]
    path.write_bytes("\n".join(lines).encode())
    assert_column(path, [document for document in map(corpus.one_line, texts) if document])


@pytest.mark.parametrize(
    ("content", "says", "line"),
    [
        ("id,title\n1,anna\n", "there is no column 'name'", 1),
        ("", "there is no column 'name'", 1),
        (f"{'x' * 200_000}\nname\n", "there is no column 'name'", 1),
        ('id\tname\n1\tanna\n2\t"bob\n' + "3\tcarl\n" * 50, "unexpected end of data", 3),
        ('name,id\nanna,1\n"line\nbreak",2\n"bob"by,3\n', "',' expected after '\"'", 5),
        ('{"name":"a"}\n{"name":\n', "the line is not JSON", 2),
        ('{"name":"a"}\n\n{"nam":"b"}\n', "there is no column 'name'", 3),
        ('{"name":"a"}\n[1]\n', "there is no column 'name'", 2),
        ('{"name":5}\n', "must be a string, not '5'", 1),
        ('{"name":' + "[" * 100_000 + "\n", "the line is not JSON", 1),
        ('{"name":' + "1" * 5000 + "}\n", "the line is not JSON", 1),
    ],
)
def test_what_is_wrong_in_a_table_is_named_with_its_line(tmp_path, content, says, line):
    path = tmp_path / "table"
    path.write_text(content)
    with pytest.raises(DataError) as raised:
        corpus.read([str(path)], "name")
    assert says in str(raised.value)
    assert f"{path}, line {line}" in raised.value.where


def test_a_cell_may_be_as_long_as_a_line(tmp_path):
    path = tmp_path / "table"
    path.write_text(f'id,name\n1,{"x" * 200_000}\n2,"{"y" * 300_000}"\n')
    assert corpus.read([str(path)], "name").documents == ["x" * 200_000, "y" * 300_000]
