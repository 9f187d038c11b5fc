"""Command ``python -m android_demo.desktop``: the app's page and core in a browser on this computer."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from android_demo.desktop.launch import ASSETS, command, compile_classes, missing_tools

DESCRIPTION = """\
Runs the app without a phone: the same page, core and native code behind a server on this computer.

  python -m android_demo.desktop --models exported/default-2bit exported/default-4bit

prints an address for the browser. The programs named stand for those that come with the app; others can be
added in the page by their folder.
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m android_demo.desktop",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="*", type=Path, default=[], help="folders that export.to_pte wrote")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path.home() / ".local" / "share" / "lowbit-demo",
        help="keeps programs, conversations and reports (default %(default)s)",
    )
    parser.add_argument("--port", type=int, default=8642, help="of the address (default %(default)s)")
    parser.add_argument(
        "--readings",
        type=Path,
        help="properties that stand for a phone's sensors: name, memory_bytes, temperature_c, "
        "battery_percent, charging, throttling; read anew each time",
    )
    args = parser.parse_args(argv)
    if lacking := missing_tools():
        parser.error("; ".join(lacking))
    with tempfile.TemporaryDirectory(prefix="lowbit-demo-") as folder:
        return _serve(args, Path(folder))


def _serve(args: argparse.Namespace, folder: Path) -> int:
    compile_classes(folder)
    words: list[object] = ["--data", args.data, "--port", args.port, "--assets", ASSETS]
    words += ["--models", *args.models] if args.models else []
    words += ["--readings", args.readings] if args.readings else []
    server = subprocess.Popen(command(folder, folder, words))
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        return server.wait()


if __name__ == "__main__":
    sys.exit(main())
