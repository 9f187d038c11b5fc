"""A build of llama.cpp that the user has, as one more opponent."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.files import sha256_of
from edge.latency.candidate import Candidate
from edge.latency.opponents.llama_cpp.build import BENCH, QUANTIZE
from edge.latency.opponents.llama_cpp.models import prepare
from edge.latency.opponents.llama_cpp.run import LlamaCandidate
from edge.latency.opponents.runtime import Runtime
from edge.model.config import ModelConfig

#: Marks types of the user's build on the command line.
BENCH_PREFIX = "bench:"
#: Types that are compared if the user's build knows them and the user names none.
BENCH_TYPES = ("IQ1_BN", "IQ2_BN", "IQ2_BN_R4", "TQ1_0", "TQ2_0", "Q4_0")


@dataclass(frozen=True)
class UserBuild:
    """A build of llama.cpp, or of a fork: llama-bench, with llama-quantize beside it.

    Attributes:
        name: what reports call it.
    """

    folder: Path
    name: str = BENCH

    def offered(self) -> list[str]:
        """Names on the command line of those of BENCH_TYPES that the build knows."""
        printed = subprocess.run(
            [self.folder / QUANTIZE, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ).stdout
        return [BENCH_PREFIX + kind for kind in BENCH_TYPES if re.search(rf"\b{kind}\b", printed)]

    def runtime(self, names: Sequence[str]) -> Runtime:
        """An opponent of some of its types; files are kept apart from those of other builds."""
        files = f"llama-bench-{sha256_of(self.folder / QUANTIZE)[:12]}"

        def candidates(
            model: str, config: ModelConfig, shape: str, types: Sequence[str], cache: Path
        ) -> list[Candidate]:
            kinds = [name.removeprefix(BENCH_PREFIX) for name in types]
            quantized = prepare(self.folder, cache / files, shape, config, kinds)
            return [LlamaCandidate(self.folder, each, config, model, self.name) for each in quantized]

        return Runtime(tuple(names), "gguf", f"{self.name}'s types", candidates)


def find_build(text: str) -> UserBuild:
    """Find a build by ``[NAME=]PATH``, the path of its llama-bench or of the folder that holds it.

    Raises:
        ValueError: llama-bench or llama-quantize is not there.
    """
    name, _, path = text.rpartition("=")
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    for program in (BENCH, QUANTIZE):
        if not (folder / program).is_file():
            raise ValueError(
                f"{folder} has no {program}: build both of llama.cpp's targets {BENCH} and {QUANTIZE}, and "
                "give the folder that holds them"
            )
    return UserBuild(folder.resolve(), name or BENCH)
