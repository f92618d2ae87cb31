"""Killed, interrupted, diverged (promises R1, R9, R10): what was saved continues bit for bit.

Latency of Ctrl-C is measured in benchmarks/, not here.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import need, sizes
from helpers import NAMES, TINY_FLAGS, checkpoint_after, in_child, session, start

from microgpt import MicroGPT, checkpoint, cli, corpus
from microgpt.checkpoint import to_bytes
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import DivergedError
from microgpt.training import Interrupt, Session

MODEL = "list.safetensors"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with a list."""
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("\n".join(NAMES))
    return tmp_path


def losses_of(path: str) -> list[str]:
    """The losses in a trace, as hexadecimal floats."""
    return [json.loads(line)["loss_hex"] for line in Path(path).read_text().splitlines()]


def uninterrupted(steps: int) -> tuple[list[str], bytes]:
    """Every loss of a whole run, and its model's file."""
    assert (
        cli.main(
            [
                "train",
                "list.txt",
                *TINY_FLAGS,
                "-q",
                "--samples=0",
                "--trace=whole",
                f"--steps={steps}",
            ]
        )
        == 0
    )
    content = Path(MODEL).read_bytes()
    os.unlink(MODEL)
    return losses_of("whole"), content


# ---- R1: kill -9 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", sizes(20, 200, 5_000))
def test_a_trainer_killed_again_and_again_ends_with_the_same_losses_and_weights(folder, kills):
    """Each child resumes, trains, saves every step, and is killed at a random moment.

    After a finished run, the next child starts a new one.
    """
    losses, whole = uninterrupted(60)
    config = checkpoint.from_bytes(whole).config
    checkpoint.save(MODEL, Session.start(config, corpus.read(["list.txt"]), "scalar").checkpoint())
    fresh = Path(MODEL).read_bytes()
    arguments = [
        "train",
        "list.txt",
        "--engine=scalar",
        "-q",
        "--samples=0",
        "--save-every=1",
        "--resume",
        "--trace=trace",
    ]
    rng, killed, before, gained, longest = random.Random(20_261_121), 0, 0, 0, 0.05  # seconds
    while killed < kills:
        pid = os.fork()
        if pid == 0:
            os._exit(cli.main(arguments))
        time.sleep(rng.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL)
        killed += status == -signal.SIGKILL
        step = checkpoint.load(MODEL).state.step
        assert step >= before, f"kill {killed} lost steps"
        if os.path.exists("trace"):
            for line in map(
                json.loads, Path("trace").read_text().splitlines()[:-1]
            ):  # the last line may be cut
                assert line["loss_hex"] == losses[line["step"] - 1], (
                    f"kill {killed}, step {line['step']}"
                )
            os.unlink("trace")
        gained += step > before
        longest *= (
            0.8 if step > before else 1.2
        )  # so that about half the children save, on any machine
        before = step
        if step == config.num_steps:
            assert Path(MODEL).read_bytes() == whole
            Path(MODEL).write_bytes(fresh)
            before = 0
    assert gained >= kills / 10, "hardly any child lived long enough to save"
    assert cli.main(arguments) == 0
    assert Path(MODEL).read_bytes() == whole
    assert sorted(os.listdir()) == [MODEL, "list.txt", "trace", "whole"]


def test_resuming_at_any_step_equals_the_uninterrupted_run(folder):
    whole = checkpoint_after(8, num_steps=8, batch_size=2, held_out=0.2)
    for step in range(9):
        data = to_bytes(checkpoint_after(step, num_steps=8, batch_size=2, held_out=0.2))
        run = Session.resume(checkpoint.from_bytes(data), corpus.from_iterable(NAMES), "scalar")
        assert run.step == step
        list(run.run(lambda: False))
        assert to_bytes(run.checkpoint()) == to_bytes(whole)


def test_a_run_is_not_resumed_with_other_documents_or_settings(folder, capsys):
    arguments = ["train", "list.txt", *TINY_FLAGS, "-q", "--samples=0", "--steps=2"]
    assert cli.main(arguments) == 0
    content = Path(MODEL).read_bytes()
    assert cli.main([*arguments, "--resume", "--seed=7"]) == 2
    assert "the run to resume has seed 42, not 7" in capsys.readouterr().err
    Path("list.txt").write_text("other")
    assert cli.main([*arguments, "--resume"]) == 65
    assert "these are not the documents" in capsys.readouterr().err
    assert Path(MODEL).read_bytes() == content


# ---- R9: SIGINT and SIGTERM ----------------------------------------------------------------------


@pytest.mark.parametrize("moments", sizes(2, 6, 100))
def test_a_signal_saves_the_state_and_it_can_be_resumed(folder, moments):
    rng, steps = random.Random(9), 400
    losses, content = uninterrupted(steps)
    words = ["train", "list.txt", *TINY_FLAGS, "--samples=0", "--trace=trace", "--steps=400"]
    for moment in range(moments):
        number, code = ((signal.SIGINT, 130), (signal.SIGTERM, 143))[moment % 2]
        for path in ("trace", MODEL):
            Path(path).unlink(missing_ok=True)
        trainer = start(*words, folder=folder)
        while not (os.path.exists("trace") and os.path.getsize("trace")):
            assert trainer.poll() is None, trainer.communicate()
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.2))
        trainer.send_signal(number)
        out, err = trainer.communicate(timeout=20)
        assert (trainer.returncode, out) == (code, ""), err
        assert "Traceback" not in err
        step = checkpoint.load(MODEL).state.step
        assert f"stopped after step {step} of 400, saved {MODEL}; continue with --resume" in err
        assert losses_of("trace") == losses[:step]
        assert sorted(os.listdir()) == [MODEL, "list.txt", "trace", "whole"]
    rest = ["train", "list.txt", "-q", "--engine=scalar", "--samples=0", "--resume", "--trace=rest"]
    assert cli.main(rest) == 0
    assert losses_of("rest") == losses[step:]
    assert Path(MODEL).read_bytes() == content


def test_a_signal_while_the_model_is_saved_loses_nothing(folder, monkeypatch, capsys):
    """The signal comes in the middle of the last save: it is finished, and the code is 130."""
    real = checkpoint.to_bytes

    def interrupted(found):
        os.kill(os.getpid(), signal.SIGINT)
        return real(found)

    monkeypatch.setattr(checkpoint, "to_bytes", interrupted)
    assert cli.main(["train", "list.txt", *TINY_FLAGS, "--steps=3", "--samples=1"]) == 130
    assert checkpoint.load(MODEL).state.step == 3
    assert sorted(os.listdir()) == [MODEL, "list.txt"]


def cpu_seconds(pid: int) -> float:
    """Time that a process has computed."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    except OSError:
        pytest.skip("no /proc here to see how far a process is")
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


LONG = [
    ["sample", MODEL, "-n", "2000000000"],
    ["score", MODEL, "many.txt"],
    ["eval", "list.txt", "--engine=scalar"],
]


@pytest.mark.parametrize("words", LONG, ids=lambda words: words[0])
def test_ctrl_c_ends_the_other_commands_with_130_too(folder, words):
    assert cli.main(["train", "list.txt", *TINY_FLAGS, "-q", "--samples=0", "--steps=2"]) == 0
    Path("many.txt").write_text("anna\n" * 3_000_000)
    running = start(*words, folder=folder)
    while (
        cpu_seconds(running.pid) < 0.4
    ):  # past the start of the interpreter, before the end of the work
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130, err
    assert "Traceback" not in err


def test_ctrl_c_while_the_command_is_being_loaded_is_quiet():
    code = """
import sys
import microgpt.__main__

class Trap:
    def find_spec(self, *_):
        raise KeyboardInterrupt

sys.meta_path.insert(0, Trap())
sys.exit(microgpt.__main__.main())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_a_second_signal_acts_at_once_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_fit_leaves_a_model_that_can_be_saved_and_used(folder):
    def work() -> int:
        model = MicroGPT(engine="scalar", n_embd=4, block_size=4, num_steps=100_000)
        signal.signal(signal.SIGVTALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.setitimer(
            signal.ITIMER_VIRTUAL, 0.5
        )  # of this process's own time: many steps, on a busy machine too
        try:
            model.fit(NAMES)
        except KeyboardInterrupt:
            model.save("model")
            return 0 if len(model.losses_) == MicroGPT.load("model", "scalar").n_steps_ > 0 else 1
        return 2

    assert in_child(work) == 0


def test_a_run_that_is_broken_off_leaves_another_runs_model_alone(folder):
    assert cli.main(["train", "list.txt", *TINY_FLAGS, "-q", "--samples=0", "--steps=3"]) == 0
    older = Path(MODEL).read_bytes()
    trainer = start(
        "train",
        "list.txt",
        *TINY_FLAGS,
        "--samples=0",
        "--trace=trace",
        "--steps=100000",
        folder=folder,
    )
    while not (os.path.exists("trace") and os.path.getsize("trace")):
        assert trainer.poll() is None, trainer.communicate()
        time.sleep(0.001)
    trainer.send_signal(signal.SIGINT)
    _, err = trainer.communicate(timeout=20)
    assert trainer.returncode == 130 and Path(MODEL).read_bytes() == older
    beside = "list.partial.safetensors"
    assert f"saved {beside}, not {MODEL}; continue with --resume -o {beside}" in err
    assert f"stopped after step {checkpoint.load(beside).state.step} of" in err
    assert cli.main(["train", "list.txt", *TINY_FLAGS, "-q", "--samples=0", "--steps=4"]) == 0
    assert Path(MODEL).read_bytes() != older  # a finished run replaces it


def test_a_run_goes_on_with_the_engine_that_began_it(folder):
    need("microgpt._native", "native", "the compiled module was not built: no C++ compiler")
    words = ["train", "list.txt", "-q", "--samples=0", "--n-embd=8", "--n-head=2", "--steps=40"]
    assert cli.main([*words, "--engine=fast", "-o", "whole.safetensors"]) == 0
    part = Session.start(
        checkpoint.load("whole.safetensors").config, corpus.read(["list.txt"]), "fast"
    )
    next(part.run(lambda: False, every=7))
    checkpoint.save(MODEL, part.checkpoint())
    assert 0 < part.step < 40
    assert cli.main(["train", "list.txt", "-q", "--samples=0", "--resume"]) == 0
    assert Path(MODEL).read_bytes() == Path("whole.safetensors").read_bytes()


def test_a_log_that_cannot_be_written_does_not_lose_the_training(folder, capsys):
    words = ["train", "list.txt", *TINY_FLAGS, "--steps=3", "--log=/dev/full", "--force"]
    assert cli.main(words) == 74
    assert f"saved after step 1: {MODEL}; continue with --resume" in capsys.readouterr().err
    assert checkpoint.load(MODEL).state.step == 1


# ---- R10: divergence -----------------------------------------------------------------------------

DIVERGING = ["--steps=60", "--learning-rate=1", "--n-layer=3"]  # at step 6, where measured


def test_divergence_stops_with_3_and_keeps_the_last_finite_checkpoint(folder, capsys):
    words = ["train", "list.txt", *TINY_FLAGS, "-q", "--samples=0", "--trace=trace", *DIVERGING]
    assert cli.main([*words, "--save-every=1"]) == 3
    losses = losses_of("trace")
    assert f"training diverged at step {len(losses) + 1}" in capsys.readouterr().err
    assert all(math.isfinite(float.fromhex(loss)) for loss in losses)
    assert checkpoint.load(MODEL).state.step == len(losses)
    content = Path(MODEL).read_bytes()
    assert cli.main([*words, "--force"]) == 3  # without --save-every nothing is written over it
    assert Path(MODEL).read_bytes() == content
    assert sorted(os.listdir()) == [MODEL, "list.txt", "trace"]


def test_a_learning_rate_of_1e10_ends_in_a_finite_model_or_in_3(folder):
    code = cli.main(["train", "list.txt", *TINY_FLAGS, "-q", "--steps=100", "--learning-rate=1e10"])
    assert code in (0, 3)
    assert os.path.exists(MODEL) == (code == 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("part", ["parameters", "m", "v"])
def test_numbers_planted_in_the_model_are_never_saved(folder, part, value):
    """Planted in the state of a run under way, not in a file: files that hold them are refused."""
    planted = checkpoint_after(1, num_steps=50)
    getattr(planted.state, part)[3] = value
    run = Session.resume(planted, corpus.from_iterable(NAMES), "scalar")
    try:
        for block in run.run(lambda: False, every=1):
            assert all(math.isfinite(step.loss) for step in block)
            checkpoint.save(MODEL, run.checkpoint())
    except DivergedError as error:
        assert error.exit_code == 3
    else:
        assert math.isfinite(value)
    if os.path.exists(MODEL):
        assert all(map(math.isfinite, checkpoint.load(MODEL).state.parameters))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_gradients_that_cannot_be_squared_stop_the_training_unapplied(monkeypatch, value):
    run = session()
    real = ScalarEngine._backward

    def planted(self, *arguments):
        loss = real(self, *arguments)
        if self._step == 2:
            self._parameters[5].grad = value
        return loss

    monkeypatch.setattr(ScalarEngine, "_backward", planted)
    with pytest.raises(DivergedError, match="at step 3"):
        list(run.run(lambda: False))
    assert to_bytes(run.checkpoint()) == to_bytes(checkpoint_after(2))
