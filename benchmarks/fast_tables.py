"""Write the figures of fast.py as Markdown tables."""

from __future__ import annotations

from typing import Any

# Targets, by n_embd with batch size 16: the share of the core's peak, and how many times faster
# than PyTorch eager.
SHARES = {16: 0.55, 32: 0.69, 64: 0.80, 128: 0.84}
TIMES_PYTORCH = {16: 50, 128: 4}


def fast_figures(comparison: dict[str, Any] | None) -> list[str]:
    """The fast engine and others, with one row per engine and one column per setting."""
    if comparison is None:
        return []
    peaks = ", ".join(f"{isa} {value:.1f}" for isa, value in comparison["peak_gflops"].items())
    torch = f"PyTorch {comparison['torch']}" if comparison["torch"] else "PyTorch"
    lines = [
        "",
        f"Peak of one core in this run, GFLOP/s: {peaks}. "
        "In brackets: a kernel's share of its own peak.",
    ]
    units = dict.fromkeys(race["unit"] for race in comparison["races"])
    for unit in units:
        races = [race for race in comparison["races"] if race["unit"] == unit]
        per = unit.replace(" a ", " per ")
        head = " | ".join([f"| {per}", *(race["what"] for race in races)])
        lines += ["", head + " |", "|---" * (len(races) + 1) + "|"]
        for name in dict.fromkeys(row["engine"] for race in races for row in race["rows"]):
            found_rows = [{row["engine"]: row for row in race["rows"]}.get(name) for race in races]
            cells = [cell(row) if row else "" for row in found_rows]
            lines.append(" | ".join([f"| {name.replace('PyTorch', torch)}", *cells]) + " |")
    return lines


def cell(row: dict[str, Any]) -> str:
    """Median, lowest and highest, and share of the peak; or the reason why there are none."""
    if "missing" in row:
        return str(row["missing"])
    share = f" ({row['peak_share']:.0%})" if "peak_share" in row else ""
    return f"{number(row['median'])}, {number(row['low'])}–{number(row['high'])}{share}"


def number(value: float) -> str:
    """Three significant digits, with separators between thousands."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bars(machine: dict[str, str], comparison: dict[str, Any]) -> str:
    """The targets of the fast engine and what this machine reaches, as a Markdown table.

    The verdicts use the least times, because other work on a shared machine only adds time.
    """
    races = {
        race["what"]: {row["engine"]: row for row in race["rows"]} for race in comparison["races"]
    }
    isa = next(iter(comparison["peak_gflops"]))  # the best, which the engine chooses
    best, eager, rows = f"fast {isa}", "PyTorch eager", []

    def compare(what: str, race: str, slow: str, fast: str, bar: float) -> None:
        a, b = races[race].get(slow, {}), races[race][fast]
        times = [a[which] / b[which] for which in ("low", "median")] if "median" in a else []
        cells = [f"{seen:.1f} times" for seen in times] or [a.get("missing", "not measured"), ""]
        rows.append(
            (what, f"at least {bar:g} times", *cells, verdict(bool(times) and times[0] >= bar))
        )

    row = races["n_embd 16, batch 1"][best]
    times = [f"{row[which]:.2f} us" for which in ("low", "median")]
    rows.append(("n_embd 16, batch 1", "at most 4.6 us", *times, verdict(row["low"] <= 4.6)))
    for n_embd, bar in SHARES.items():
        row = races[f"n_embd {n_embd}, batch 16"][best]
        shares = [f"{row[which]:.0%}" for which in ("best_peak_share", "peak_share")]
        what = f"n_embd {n_embd}, batch 16: share of the peak"
        rows.append((what, f"at least {bar:.0%}", *shares, verdict(row["best_peak_share"] >= bar)))
    for n_embd, factor in TIMES_PYTORCH.items():
        compare(
            f"PyTorch eager, n_embd {n_embd}, batch 16",
            f"n_embd {n_embd}, batch 16",
            eager,
            best,
            factor,
        )
    two = "fast, threads 2"
    compare("two threads, n_embd 64, batch 64", "n_embd 64, batch 64", "fast, threads 1", two, 1.6)
    compare(
        "PyTorch eager, nanoGPT's character setting",
        "nanoGPT's character setting, threads 2",
        eager,
        two,
        2,
    )
    lines = ["| what | target | least time | median | reached |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(
        [
            f"{machine['processor']}, {machine['cores']} cores, {isa}; {machine['date']}.",
            "",
            *lines,
            "",
        ]
    )


def verdict(reached: bool) -> str:
    return "yes" if reached else "no"
