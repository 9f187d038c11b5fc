"""ExecuTorch's own TextLLMRunner, which needs nothing of ours but the ops."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def stock_text(directory: Path, prompt: str, max_new_tokens: int, own_process: bool = False) -> str:
    """The greedy text of an export directory's program behind a prompt."""
    code = (
        "import sys, torch, edge.ops\n"
        "from executorch.extension.llm.runner import GenerationConfig, TextLLMRunner\n"
        f"runner = TextLLMRunner({str(directory / 'model.pte')!r}, {str(directory / 'tokenizer.json')!r})\n"
        "config = GenerationConfig(); config.temperature = 0.0; config.echo = False; config.num_bos = 1\n"
        f"config.max_new_tokens = {max_new_tokens}\n"
        "pieces = []\n"
        f"runner.generate({prompt!r}, config, pieces.append)\n"
        "print('\\n<<<' + ''.join(pieces) + '>>>')\n"
    )
    if own_process:
        command = [sys.executable, "-c", code]
        printed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    else:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code, {})
        printed = output.getvalue()
    found = re.search(r"<<<(.*)>>>", printed, re.DOTALL)
    assert found is not None, printed
    return found[1]
