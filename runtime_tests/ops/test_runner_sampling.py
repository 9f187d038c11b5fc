"""Sampling in the runner: against a reference in float64, and the same ids on ARM."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edge.ops
from edge.ops.cross_build import COMPILER
from runtime_tests.ops.runner_process import ids, refused, run

HERE = Path(__file__).parent
RUNNER_SOURCES = Path(edge.ops.__file__).parent / "csrc" / "runner"
SYSROOT = Path("/usr/aarch64-linux-gnu")
CONFIGS = [  # temperature, top_p, top_k
    (1.0, 1.0, 0),
    (0.7, 1.0, 40),
    (1.3, 0.9, 0),
    (0.8, 0.95, 50),
    (5.0, 0.5, 7),
    (0.01, 0.99, 0),
]
LOGITS = np.random.default_rng(1).normal(0, 3, 1000).astype(np.float32)


def uniforms(seed: int) -> Iterator[float]:
    """SplitMix64, written from its paper: numbers in [0, 1)."""
    state, mask = seed, (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield ((z ^ (z >> 31)) >> 11) / 2.0**53


def reference(
    logits: np.ndarray, temperature: float, top_p: float, top_k: int, uniform: Iterator[float]
) -> int:
    """One draw from float logits [V]. It agrees with float32 weights unless a draw is within 1e-6 of
    where two tokens meet; with the seeds here, none is."""
    order = np.arange(len(logits))
    if 0 < top_k < len(logits) or top_p < 1:
        order = np.lexsort((order, -logits))
    order = order[:top_k] if top_k else order
    weights = np.exp((logits[order].astype(np.float64) - logits.max()) / temperature)
    if top_p < 1:
        kept = 1 + int(np.searchsorted(weights.cumsum(), top_p * weights.sum()))
        order, weights = order[:kept], weights[:kept]
    return int(order[np.searchsorted(weights.cumsum(), next(uniform) * weights.sum(), side="right")])


def build_probe(compiler: str, folder: Path) -> Path:
    """The probe with the flags that the runner is built with."""
    flags = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-static"]
    sources = [HERE / "sampler_probe.cc", RUNNER_SOURCES / "sampler.cc"]
    subprocess.run(
        [compiler, *flags, f"-I{RUNNER_SOURCES.parent}", *sources, "-o", folder / "probe"], check=True
    )
    return folder / "probe"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("c++ is missing: apt-get install g++")
    return [build_probe(compiler, tmp_path_factory.mktemp("probe"))]


def draw(
    probe: list[object], logits: np.ndarray, config: tuple[float, float, int], seed: int = 0, count: int = 200
) -> list[int]:
    arguments = [*probe, *config, seed, count, len(logits)]
    result = subprocess.run([str(a) for a in arguments], input=logits.tobytes(), capture_output=True)
    assert result.returncode == 0
    return [int(line) for line in result.stdout.split()]


@pytest.mark.parametrize("config", CONFIGS)
def test_draws_equal_the_reference(probe, config):
    for seed in (0, 1, 2**63 - 1):
        uniform = uniforms(seed)
        assert draw(probe, LOGITS, config, seed) == [reference(LOGITS, *config, uniform) for _ in range(200)]


def test_the_generator_is_splitmix64():
    """Published first output of seed 1234567."""
    assert next(uniforms(1234567)) == (6457827717110365317 >> 11) / 2.0**53


def test_frequencies_are_the_softmax(probe):
    logits, count = np.array([0, 1, -np.inf, 2, 0.5], dtype=np.float32), 20000
    drawn = np.bincount(draw(probe, logits, (0.9, 1.0, 0), 5, count), minlength=5)
    expected = np.exp(logits / 0.9) / np.exp(logits / 0.9).sum() * count
    assert drawn[2] == 0
    chi_square = ((drawn - expected)[expected > 0] ** 2 / expected[expected > 0]).sum()
    assert chi_square < 16.3  # 3 degrees of freedom, exceeded by chance once in 1000 seeds


@pytest.mark.parametrize("config", [(0, 0.5, 3), (1e-9, 1, 0), (1, 0, 0), (1, 1, 1), (1e-5, 1, 0)])
def test_narrow_settings_are_greedy(probe, config):
    assert set(draw(probe, LOGITS, config)) == {int(LOGITS.argmax())}


def test_ties_go_to_the_lower_id(probe):
    tied = np.zeros(10, dtype=np.float32)
    assert set(draw(probe, tied, (0, 1, 0))) == {0}
    assert set(draw(probe, tied, (1, 1, 3))) == {0, 1, 2}
    assert set(draw(probe, tied, (1, 0.35, 0))) == {0, 1, 2, 3}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_broken_logits_are_refused(probe, bad, temperature):
    logits = LOGITS.copy()
    logits[500] = bad
    assert draw(probe, logits, (temperature, 1, 0), count=1) == [-1]
    assert draw(probe, np.full(9, -np.inf, dtype=np.float32), (temperature, 1, 0), count=1) == [-1]


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is missing")
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="qemu-aarch64 is missing")
def test_arm_draws_the_same(probe, tmp_path):
    emulated = ["qemu-aarch64", "-L", SYSROOT, build_probe(COMPILER, tmp_path)]
    for config in CONFIGS:
        assert draw(emulated, LOGITS, config, 3) == draw(probe, LOGITS, config, 3)


def test_the_runner_samples_what_the_reference_does(tiny_program, tmp_path):
    arguments = ("--model", tiny_program, "--tokens", "3,14,15,9,2", "--max-new-tokens", 20, "--eos", 1000000)
    sampling = ("--temperature", 100, "--top-p", 0.9, "--top-k", 30, "--seed", 11)
    drawn = ids(run(*arguments, *sampling, "--logits", tmp_path / "logits"))
    logits = np.fromfile(tmp_path / "logits", dtype=np.float32).reshape(20, -1)
    uniform = uniforms(11)
    assert drawn == [reference(row, 100, 0.9, 30, uniform) for row in logits]
    assert drawn == ids(run(*arguments, *sampling))
    assert drawn != ids(run(*arguments, *sampling[:-1], 12))
    assert drawn != ids(run(*arguments))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--temperature", "hot"), "--temperature must be a number from 0 to 100, not 'hot'"),
        (("--temperature", "nan"), "--temperature must be a number"),
        (("--top-p", "1.5"), "--top-p must be a number from 0 to 1,"),
        (("--top-k", "-1"), "--top-k must be an integer from 0"),
        (("--seed", "1e3"), "--seed must be an integer from 0"),
        (("--seed", "5", "--model", "x", "--tokens", "1"), "--seed needs a --temperature above 0"),
    ],
)
def test_bad_sampling_arguments(arguments, sentence):
    assert sentence in refused(*arguments)
