"""Bad options and bad input (promise R13): refused early, in words, with the right exit code.

Every message names the option, the value and the range. None holds a traceback or a control
character.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import sizes
from helpers import NAMES, TINY_FLAGS, checkpoint_after, data_entry, forged, opened

from microgpt import MicroGPT, checkpoint, cli, files
from microgpt.checkpoint import from_bytes, to_bytes
from microgpt.config import Config, checked
from microgpt.errors import CheckpointError, ConfigError, DataError
from microgpt.randomness import Draws
from microgpt.sampling import Wanted

# Written out a second time, on purpose: whole numbers?, lowest, highest, lowest itself left out?
HYPER = {
    "n_layer": (True, 1, 256, False),
    "n_embd": (True, 1, 65_536, False),
    "n_head": (True, 1, 1024, False),
    "block_size": (True, 1, 1_048_576, False),
    "num_steps": (True, 1, 1_000_000_000, False),
    "batch_size": (True, 1, 1_048_576, False),
    "learning_rate": (False, 0, 1e12, True),
    "beta1": (False, 0, 1 - 2**-53, False),
    "beta2": (False, 0, 1 - 2**-53, False),
    "eps_adam": (False, 0, 1, True),
    "init_std": (False, 0, 100, True),
    "seed": (True, 0, 2**64 - 1, False),
    "held_out": (False, 0, 0.9, False),
}
SAMPLING = {
    "n": (True, 0, 2**31 - 1, False),
    "temperature": (False, 1e-6, 1e6, False),
    "top_k": (True, 0, 2**31 - 1, False),
    "top_p": (False, 0, 1, True),
    "min_len": (True, 0, 2**31 - 1, False),
    "max_len": (True, 0, 2**31 - 1, False),
    "seed": (True, 0, 2**64 - 1, False),
}
FLAGS = [
    *(
        (
            "train",
            "--steps" if name == "num_steps" else "--" + name.replace("_", "-"),
            name,
            HYPER[name],
        )
        for name in HYPER
    ),
    *(
        ("sample", "-n" if name == "n" else "--" + name.replace("_", "-"), name, SAMPLING[name])
        for name in SAMPLING
    ),
    ("train", "--samples", "samples", (True, 0, 10**9, False)),
    ("train", "--save-every", "save_every", (True, 0, 10**9, False)),
    ("train", "--temperature", "temperature", SAMPLING["temperature"]),
    ("eval", "--held-out", "held_out", (False, 0, 0.9, True)),
    ("score", "--min", "min", (False, -1e300, 1e300, False)),
]
VALUES = [
    math.nan, math.inf, -math.inf, -1, 0, 0.5, 2**31, 2**63, 1e30, 10**400, 10**5000, "", "abc",
    "1\x1b[31m", None, True, [], b"1",
]  # fmt: skip


def allowed(value: object, whole: bool, low: float, high: float, open_low: bool) -> bool:
    if not isinstance(value, int if whole else (int, float)) or isinstance(value, bool):
        return False
    return low <= value <= high and not (open_low and value == low)


def as_text(value: object) -> str:
    return "9" * 5001 if value == 10**5000 else str(value)


def names_all(message: str, name: str, value: object, low: float, high: float) -> bool:
    """Whether a message has the option's name, the value and both ends of the range."""
    plain = message.replace(",", "")
    shown = (
        "very large" if value == 10**5000 else "\\x1b" if "\x1b" in str(value) else str(value)[:60]
    )
    ends = ["0.000001" if low == 1e-6 else f"{low:g}", f"{high:g}" if high > 1e21 else str(high)]
    ends = [end.removesuffix(".0") for end in ends]
    return (
        name in message
        and (shown in message or shown in plain or "9" * 60 in message)
        and all(e in plain for e in ends)
    )


@pytest.mark.parametrize(
    ("verb", "flag", "name", "limits"), FLAGS, ids=[f"{flag} of {verb}" for verb, flag, *_ in FLAGS]
)
def test_the_command_names_option_value_and_range_before_it_looks_at_any_file(
    tmp_path, monkeypatch, capsys, verb, flag, name, limits
):
    monkeypatch.chdir(tmp_path)
    missing = {
        "eval": ["none.safetensors", "none"],
        "explain": ["none.safetensors", "a"],
        "train": ["none"],
    }
    for value in VALUES:
        text = as_text(value)
        try:
            meant = int(text) if limits[0] else float(text)
        except ValueError:
            meant = text
        code = cli.main([verb, *missing.get(verb, ["none.safetensors"]), f"{flag}={text}"])
        shown = capsys.readouterr().err
        assert code == (66 if allowed(meant, *limits) else 2), f"{flag}={text[:50]}: {shown}"
        if code == 2:
            assert names_all(shown, name, text, limits[1], limits[2]), shown
            assert flag in shown
    assert os.listdir() == []


@pytest.mark.parametrize("name", HYPER)
def test_python_and_the_models_header_refuse_what_the_command_refuses(name):
    data = to_bytes(checkpoint_after(0))
    config = json.loads(opened(data)[0]["__metadata__"]["config"])
    for value in VALUES:
        if allowed(value, *HYPER[name]):
            assert getattr(Config(**{name: value}), name) == value
            continue
        for make in (
            lambda: Config(**{name: value}),  # noqa: B023
            lambda: MicroGPT(**{name: value}, engine="scalar").fit(NAMES),  # noqa: B023
        ):
            with pytest.raises(ConfigError) as raised:
                make()
            assert raised.value.exit_code == 2
            if (name, value) != ("block_size", "abc") and not isinstance(value, (str, bytes)):
                assert names_all(str(raised.value), name, value, *HYPER[name][1:3])
        if not isinstance(value, bytes) and value != 10**5000:
            with pytest.raises(CheckpointError) as raised:
                from_bytes(forged(data, config=json.dumps(config | {name: value})))
            assert name in str(raised.value) or "is not JSON" in str(raised.value)
    with pytest.raises(CheckpointError, match=name):
        from_bytes(forged(data, config=json.dumps({k: v for k, v in config.items() if k != name})))


@pytest.mark.parametrize("name", SAMPLING)
def test_python_refuses_what_sample_refuses(name):
    model = MicroGPT(engine="scalar", n_embd=4, num_steps=1).fit(NAMES)
    for value in VALUES:
        if allowed(value, *SAMPLING[name]):
            assert checked(name, value) == value
        elif value is not None or name not in ("max_len", "seed"):
            with pytest.raises(ConfigError) as raised:
                model.sample(**{"n": 1, name: value})
            assert name in str(raised.value)


def test_options_that_do_not_go_together_are_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("anna\n")
    for arguments, says in (
        (
            ["--n-embd", "10", "--n-head", "4"],
            "n_embd must be a multiple of n_head, but 10 is not a multiple of 4",
        ),
        (["--log", "same", "--trace", "./same"], "two outputs have the same path"),
        (["--column", "x", "--block-size", "nope"], "block_size must be a whole number"),
    ):
        assert cli.main(["train", "list", *arguments]) == 2
        assert says in capsys.readouterr().err
    assert cli.main(["train", "--column", "x"]) == 2
    assert "the built-in list has no columns" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="max_len must be a whole number from 5"):
        Wanted(min_len=5, max_len=4)
    for pattern in ("(", "a{99999999999}", "(" * 5000):
        with pytest.raises(ConfigError, match="match is not a regular expression"):
            Wanted(match=pattern)
    data = to_bytes(checkpoint_after(0))
    config = json.loads(opened(data)[0]["__metadata__"]["config"])
    with pytest.raises(CheckpointError, match="multiple of n_head"):
        from_bytes(forged(data, config=json.dumps(config | {"n_head": 3})))


@pytest.mark.parametrize(
    "sizes", [{"n_embd": 65_536, "n_layer": 256}, {"block_size": 1_048_576}], ids=str
)
def test_a_model_beyond_memory_is_refused_before_its_weights_are_drawn(
    monkeypatch, capsys, tmp_path, sizes
):
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("anna\n")
    data = to_bytes(checkpoint_after(0))
    config = json.loads(opened(data)[0]["__metadata__"]["config"])
    monkeypatch.setattr(Draws, "weights", lambda *_: pytest.fail("weights were drawn"))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in sizes.items()]
    assert cli.main(["train", "list", *flags]) == 2
    shown = capsys.readouterr().err
    assert "GB of memory" in shown
    assert all(f"{name} {value}" in shown for name, value in sizes.items())
    assert os.listdir() == ["list"]
    with pytest.raises(CheckpointError, match="GB of memory"):
        from_bytes(forged(data, config=json.dumps(config | sizes)))


# ---- exit codes ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: a list, a model, and a file that microgpt did not write."""
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("\n".join(NAMES))
    checkpoint.save("model.safetensors", checkpoint_after(1))
    Path("foreign").write_text("not ours")
    monkeypatch.setattr("microgpt.sampling.LEAST_TRIES", 20)
    return tmp_path


TRAIN = ["train", "list.txt", *TINY_FLAGS, "-q", "--samples", "1", "--steps"]
CODES = [
    (0, [*TRAIN, "1"]),
    (0, ["sample", "model.safetensors", "-n", "0"]),
    (0, ["info"]),
    (1, ["sample", "-n", "3", "--match", "zzz"]),
    (2, ["sample", "--nonsense"]),
    (2, ["sample", "-p", "annaanna"]),
    (3, [*TRAIN, "50", "--learning-rate", "1e12", "--n-layer", "3", "--init-std", "100"]),
    (65, ["info", "foreign"]),
    (65, ["train", "model.safetensors", "-o", "x"]),
    (65, ["explain", "model.safetensors", "xyz"]),
    (65, ["sample", "-p", "xyz"]),
    (65, ["score", "model.safetensors", "foreign"]),
    (66, ["info", "none"]),
    (66, ["train", "none"]),
    (66, [*TRAIN, "1", "--resume"]),
    (73, [*TRAIN, "1", "-o", "none/model"]),
    (73, [*TRAIN, "1", "-o", "foreign"]),
    (73, [*TRAIN, "1", "-o", ".", "--force"]),
    (73, [*TRAIN, "1", "--log", "foreign"]),
    (73, [*TRAIN, "1", "--plot", "none/plot.svg"]),
]


@pytest.mark.parametrize(
    ("code", "arguments"), CODES, ids=[f"{code} {' '.join(words)[:50]}" for code, words in CODES]
)
def test_each_failure_has_its_exit_code_and_leaves_the_folder_alone(
    folder, capsys, code, arguments
):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert cli.main(arguments) == code, capsys.readouterr().err
    if code > 1:
        shown = capsys.readouterr()
        assert "microgpt: error: " in shown.err
        assert shown.out == ""
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_missing_part_is_69_and_no_permission_77(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 69
    assert "fix: pip install shtab" in capsys.readouterr().err

    def refuse(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr(files.os, "open", refuse)
    assert cli.main(["info"]) == 77


@pytest.mark.parametrize("debug", ["", "0", "1"])
def test_an_internal_error_is_70_and_shows_a_traceback_only_when_asked(monkeypatch, capsys, debug):
    monkeypatch.setenv("MICROGPT_DEBUG", debug)
    monkeypatch.setattr("microgpt.commands.info.run", lambda *_: 1 / 0)
    assert cli.main(["info"]) == 70
    shown = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in shown
    assert ("Traceback" in shown) == (debug == "1")


def test_an_update_whose_graph_is_beyond_memory_is_refused_by_the_scalar_engine(capsys, tmp_path):
    (tmp_path / "list.txt").write_text("abcdefghijklmnop\nb\n")
    sizes = ["--n-embd", "64", "--batch-size", "100000", "--steps", "1", "--engine", "scalar"]
    assert (
        cli.main(
            ["train", str(tmp_path / "list.txt"), "-o", str(tmp_path / "m.safetensors"), *sizes]
        )
        == 2
    )
    shown = capsys.readouterr().err
    assert "graph of one update" in shown and "engine scalar" in shown
    assert not (tmp_path / "m.safetensors").exists()


def test_not_enough_memory_is_said_in_words(monkeypatch, capsys):
    def too_much(*_):
        raise MemoryError

    monkeypatch.setattr("microgpt.commands.info.run", too_much)
    assert cli.main(["info"]) == 70
    assert "not enough memory" in capsys.readouterr().err


def test_numbers_are_shown_without_quotation_marks(capsys):
    for wrong, shown in (("-1", "-1"), ("1e30", "1e30"), ("x", "'x'"), ("", "''")):
        assert cli.main(["train", f"--n-embd={wrong}"]) == 2
        assert f"not {shown}\n" in capsys.readouterr().err
    assert cli.main(["sample", "--temperature=0"]) == 2
    assert "must be a number from 0.000001 to 1,000,000, not 0\n" in capsys.readouterr().err
    for value, shown in ((-1, "-1"), (0.5, "0.5"), (None, "None"), ("16", "'16'")):
        with pytest.raises(ConfigError) as raised:
            Config(n_embd=value)
        assert raised.value.what.endswith(f", not {shown}")


def test_wrong_documents_and_texts_are_type_errors_in_words():
    with pytest.raises(TypeError, match=r"iterable of strings or a pathlib\.Path, not None$"):
        MicroGPT().fit(None)
    with pytest.raises(DataError) as raised:
        MicroGPT().fit([])
    assert raised.value.where == "the documents that were passed"
    model = MicroGPT(n_embd=4, n_head=1, num_steps=1).fit(["ab"])
    with pytest.raises(TypeError, match=r"^explain reads one string, not 3$"):
        model.explain(3)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_streams_that_are_full_closed_or_broken_end_without_a_traceback(folder, unbuffered):
    sample = f"{sys.executable} -m microgpt sample model.safetensors --seed 1"
    flags = f"{' '.join(TINY_FLAGS)} --steps 1 -o x.safetensors"
    train = f"{sys.executable} -m microgpt train list.txt -q {flags}"
    for line, code in (
        (f"{sample} > /dev/full", 74),
        *(
            (f"{sys.executable} -m microgpt {page} > /dev/full", 74)
            for page in ("-V", "--help", "sample --help", "journey gist --help")
        ),
        (f"{sys.executable} -m microgpt --help | true; exit ${{PIPESTATUS[0]}}", 141),
        (f"{sample} >&-", 0),
        (f"{sample} 2>&- | true; exit ${{PIPESTATUS[0]}}", 141),
        (f"{sample} | true; exit ${{PIPESTATUS[0]}}", 141),
        (f"{train} <&-", 0),
        (f"{train.replace('list.txt', '-')} <&-", 66),
        (f"{sys.executable} -m microgpt info none 2>&- >remark; test -s remark", 1),
    ):
        ran = subprocess.run(
            ["bash", "-c", line],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
        assert ran.returncode == code, (line, ran.stderr)
        assert ("cannot write to standard output" in ran.stderr) == (code == 74)
        assert "Traceback" not in ran.stderr
        assert "Exception ignored" not in ran.stderr


# ---- what a terminal might obey ------------------------------------------------------------------


def test_control_characters_never_reach_the_terminal_through_messages(folder, capsys):
    evil = "evil\x1b[31m\x07\n\x9b\u202e"
    Path(evil).write_text("an\x1bna")
    source = json.dumps(data_entry(evil))
    Path("evil-model").write_bytes(forged(Path("model.safetensors").read_bytes(), data=source))
    os.mkfifo(evil + "fifo")
    for arguments in (
        ["train", evil + "none"], ["train", evil + "fifo"], ["info", evil],
        ["train", "list.txt", "-o", evil], ["explain", "model.safetensors", evil],
        ["train", evil, *TINY_FLAGS, "--steps", "1", "--samples", "0"], [evil],
        ["train", "list.txt", evil, "--column", evil], ["sample", evil], ["--" + evil],
        ["train", "--n-embd", evil], ["train", "list.txt", "--engine", evil],
        ["score", "model.safetensors", evil],
        ["sample", "model.safetensors", "--match", "(" + evil],
        ["train", "list.txt", "-o", "evil-model", "--resume"], ["info", "evil-model"],
        ["sample", "evil-model", "--novel"],
    ):  # fmt: skip
        cli.main(arguments)
        shown = capsys.readouterr()
        for text in (shown.err, shown.out):
            bad = {c for c in text if not c.isprintable() and c != "\n"}
            assert not bad, (arguments, text)
            assert evil not in text


def test_a_long_message_is_cut(capsys):
    assert cli.main(["train", "--n-embd", "x" * 100_000]) == 2
    assert len(capsys.readouterr().err) < 400


# ---- anything ------------------------------------------------------------------------------------

LINES = """
train sample score eval info explain completion list.txt model.safetensors foreign none - --json
--sort --bits --novel --unique --resume --grad --column --dedupe --transcript --trace --log --plot
--seed -n -k -t -p --match --min-len --max-len --held-out --val --holdout --batch-size
--learning-rate --head --engine scalar exact --temperature --samples --unk skip error -q -v 0 1 2
-1 0.5 1e30 nan a anna ( é auto --block-size out --save-every --force
"""
WORDS = [*LINES.split(), ""]


@pytest.mark.parametrize("count", sizes(60, 300, 20_000))
def test_no_command_line_is_an_internal_error(folder, monkeypatch, capsys, count):
    rng = random.Random(2026)
    model = Path("model.safetensors").read_bytes()
    codes = set()
    for _ in range(count):
        monkeypatch.setattr("sys.stdin", None)
        Path("model.safetensors").write_bytes(model)
        words = [rng.choice(WORDS[:7]), *rng.choices(WORDS, k=rng.randrange(8))]
        if words[0] in ("train", "eval"):
            words += [*TINY_FLAGS, "--steps", "2"]
        code = cli.main(words)
        shown = capsys.readouterr().err
        assert code in (0, 1, 2, 3, 65, 66, 69, 73), (words, shown)
        assert "Traceback" not in shown, words
        codes.add(code)
    assert {0, 2, 65, 66} <= codes
