"""Run a module of the page in Node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from runtime_tests.native_builds import find_tool

SCRIPTS = Path(__file__).resolve().parent / "page"


def run_in_node(script: str, page: Path, **request: Any) -> Any:
    """Give a script of ``page/`` a request as JSON, and return its answer."""
    result = subprocess.run(
        [str(find_tool("node")), str(SCRIPTS / script)],
        input=json.dumps({"assets": page.as_uri(), **request}),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
