"""`microgpt eval`: the held-out set and the n-grams beside it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from command_support import FLAGS, Run, model, run  # noqa: F401


def test_eval_sets_the_model_beside_ngrams_on_one_split(run: Run, model: str) -> None:
    code, out, _ = run("eval", "list.txt", *FLAGS, "--holdout", "0.25", "--json", "-q")
    found = json.loads(out)
    assert code == 0 and found["documents"] == 2
    assert list(found["models"]) == ["uniform", *(f"{n}-gram" for n in range(1, 6)), "microgpt"]
    assert found["models"]["uniform"]["nats_per_token"] == pytest.approx(math.log(4))
    # A model trained with the same share held out is measured on the same documents.
    assert run("train", "list.txt", *FLAGS, "--val", "0.25", "-q", "-o", "v.safetensors")[0] == 0
    again = json.loads(run("eval", "v.safetensors", "list.txt", "--json", "-q")[1])
    assert again == found
    code, _, err = run("eval", "v.safetensors", "list.txt", "--holdout", "0.5")
    assert code == 2 and "held out 0.25 of this list" in err
    code, out, err = run("eval", model, "list.txt")
    assert code == 0 and "was trained on this whole list" in err and out.startswith("model ")


def test_eval_of_a_model_refuses_settings_of_training_and_tells_what_it_has_seen(
    run: Run, model: str
) -> None:
    for flags in (["--preset", "good"], ["--steps", "5"], ["--windows"]):
        code, _, err = run("eval", model, "list.txt", *flags)
        assert code == 2 and "this model is already trained" in err
    Path("longer.txt").write_text(Path("list.txt").read_text() + "\ncaba\n")
    code, _, err = run("eval", model, "longer.txt", "--holdout", "0.5")
    assert code == 0 and "that appear in the list the model was trained on: 4 of 4" in err
