"""Find the share of the tokens that is best trained at low bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge.scaling.analysis.charts import Dot, curves
from edge.scaling.analysis.groups import Mean, common_seeds, each, group, means, size
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.laws.fraction import PARETOQ_SHARE, best_share
from edge.scaling.records import Record, commonest_schedule


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the best measured share for each size, token count and width."""
    schedule = commonest_schedule(records)
    trained = [
        r for r in records
        if r.post is None and r.training.low_bit_tokens and r.training.method == "paretoq"
        and r.training.activation_bits == r.training.kv_bits == 16 and r.training.schedule == schedule
    ]  # fmt: skip
    lines = group(trained, lambda r: (r.training.weight_bits, r.parameters, r.training.tokens))
    found = {key: line for key, runs in sorted(lines.items()) if len(line := _by_share(runs)) > 2}
    if not found:
        return None
    noise = Noise(records)
    heads = ("bits", "parameters", "tokens each", "best share", "as good within noise", "10 % is worse by")
    rows = [[*heads, "2509.22935"]]
    bests: set[str] = set()
    tenths = equal = 0
    for (bits, parameters, tokens), line in found.items():
        line.sort(key=lambda mean: mean.record.training.low_bit_share)
        best = min(line, key=lambda mean: mean.loss)
        good = [_share(mean) for mean in line if mean.loss <= best.loss + noise.of_loss(best, mean)]
        wanted = float(best_share(tokens, parameters, bits))
        tenth = [m for m in line if abs(m.record.training.low_bit_share - PARETOQ_SHARE) < 0.02]
        bests.add(_share(best))
        tenths, equal = tenths + bool(tenth), equal + (bool(tenth) and _share(tenth[0]) in good)
        rows.append(
            [
                f"{bits:g}", size(parameters), each(tokens / parameters), _share(best), ", ".join(good),
                f"{tenth[0].loss - best.loss:.3f}" if tenth else "",
                "" if math.isnan(wanted) else f"{wanted:.0%}",
            ]
        )  # fmt: skip
    answer = (
        f"In {equal} of {tenths} comparisons of shares with the same tokens in all, the last tenth, which is "
        f"ParetoQ's share, was as good as the best within noise; the best were {', '.join(sorted(bests))}. "
        "The last column is the share by 2509.22935, which was measured from 86 million parameters on."
    )
    dots = [
        Dot(
            mean.record.training.low_bit_share,
            mean.loss,
            f"{each(tokens / parameters)} tokens each",
            f"{size(parameters)}, {bits:g} bits",
        )
        for (bits, parameters, tokens), line in found.items()
        for mean in line
    ]
    pictures = curves(
        "Loss by the share of low-bit tokens", answer, ("share of the tokens", "loss, nats"), dots
    )
    return Section(
        "shares", "Which share of training belongs to low bits?", [answer], [Table(rows)], pictures
    )


def _by_share(runs: Sequence[Record]) -> list[Mean]:
    """Means of each share, over the seeds that all shares have."""
    seeds = common_seeds(group(runs, lambda record: record.training.low_bit_tokens).values())
    return means(record for record in runs if record.training.seed in seeds)


def _share(mean: Mean) -> str:
    return f"{mean.record.training.low_bit_share:.0%}"
