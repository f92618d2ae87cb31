"""`microgpt info`: what a model file holds, and which engines there are."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from command_support import Run, model, run  # noqa: F401

from microgpt import checkpoint, corpus
from microgpt.made_by import MadeBy


def test_info_tells_what_a_file_holds(run: Run, model: str) -> None:
    found = json.loads(run("info", model, "--json")[1])
    assert found["alphabet"] == "abc" and found["step"] == 12 and found["config"]["n_embd"] == 4
    assert found["sha256"] == hashlib.sha256(Path(model).read_bytes()).hexdigest()
    assert found["data"]["origin"]["sources"] == ["list.txt"]
    stored = checkpoint.load(model)
    assert found["weights_sha256"] == stored.weights_sha256()
    assert found["made_by"]["engine"] == stored.made_by.engine != ""
    assert "scalar" in json.loads(run("info", "--engine", "--json")[1])
    text = run("info", model)[1]
    assert "n_embd           4" in text
    assert "sources          list.txt\n" in text and "fingerprint" in text
    assert "documents        8\n" in text and "column" not in text and "dedupe" not in text
    assert not re.search(r"^  \S+ *$", text, re.M)


def test_info_shows_data_in_words_and_leaves_out_what_is_not_recorded(run: Run, model: str) -> None:
    stored = checkpoint.load(model)
    origin = corpus.Origin(("-", corpus.BUILTIN), "name", True)
    data, made_by = stored.data._replace(origin=origin), MadeBy()
    checkpoint.save("old.safetensors", stored._replace(data=data, made_by=made_by))
    text = run("info", "old.safetensors")[1]
    assert "sources          standard input, built-in names\n" in text
    assert "column           name\n" in text and "duplicates removed\n" in text
    assert "made_by:\n  engine           not recorded\n" in text


def test_info_of_the_engines_takes_no_model(run: Run, model: str) -> None:
    code, out, err = run("info", "--engine", model)
    assert (code, out) == (2, "") and f"where: argument MODEL: '{model}'" in err
