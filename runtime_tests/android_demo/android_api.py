"""Android's published API by class, read from @nativescript/types-android, and Java classes as javap prints.

Both are written alike, so that members can be compared: types as TypeScript has them, where every number is
``number``, Java's text is ``string`` and generic parameters are dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_NUMBERS = {"byte", "short", "int", "long", "float", "double", "char"}
_NAMES = {"java.lang.String": "string", "java.lang.CharSequence": "string", "java.lang.Object": "any"}


@dataclass(frozen=True)
class Member:
    """A field, or a method with the types of its arguments; a constructor is called ``constructor``."""

    name: str
    type: str
    arguments: tuple[str, ...] | None
    static: bool
    value: str | None = None  # of a constant


@dataclass
class ApiClass:
    """A class with its members and the API level at which each came; 1 where the metadata has none."""

    base: str | None
    since: int
    members: dict[Member, int] = field(default_factory=dict)


def read_api(path: Path, wanted: set[str]) -> dict[str, ApiClass]:
    """Read the wanted classes (``android.content.ClipData.Item``)."""
    found: dict[str, ApiClass] = {}
    names: list[str] = []  # of the open blocks, by depth; "" for others
    since, current = 1, None
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip("\t"))
        if level := re.search(r"@since (\d+)", text):
            since = int(level[1])
        if text.startswith(("/*", "*")):
            continue
        del names[depth:]
        if block := re.match(r"(?:declare |export )(?:abstract )?(module|class) (\w+)(.*)\{$", text):
            names += [""] * (depth - len(names)) + [block[2]]
            current = ".".join(names) if block[1] == "class" else None
            if current in wanted:
                base = re.search(r"extends ([\w.]+)", re.sub(r"<[^<>]*>", "", block[3]))
                found[current] = ApiClass(base[1] if base else None, since)
        elif current in wanted and depth == len(names) and (member := _typescript_member(text)):
            found[current].members.setdefault(member, since)
        since = 1
    return found


def _typescript_member(text: str) -> Member | None:
    if not text.startswith(("public ", "protected ")):
        return None
    text = text.split(" ", 1)[1]
    static = "static " in text.split("(")[0]
    text = re.sub(r"^(static |abstract )*", "", text)
    if method := re.fullmatch(r"(\w+)(?:<[^(]*>)?\((.*)\)(?:: (.*))?;", text):
        arguments = _split(method[2])
        types = tuple(_plain(argument.split(": ", 1)[1]) for argument in arguments if ": " in argument)
        return Member(method[1], _plain(method[3] or "void"), types, static)
    if constant := re.fullmatch(r"(\w+): (.*);", text):
        literal = re.fullmatch(r'"(.*)"|(-?[\d.]+)', constant[2])
        kind = ("string" if literal[1] is not None else "number") if literal else _plain(constant[2])
        value = None if literal is None else literal[1] if literal[1] is not None else literal[2]
        return Member(constant[1], kind, None, static, value)
    return None


def _plain(kind: str) -> str:
    """A TypeScript type without ``| null`` and generic parameters, but for arrays."""
    kind = kind.replace(" | null", "").strip()
    if array := re.fullmatch(r"androidNative\.Array<(.*)>", kind):
        return f"{_plain(array[1])}[]"
    return re.sub(r"<.*>", "", kind)


def _split(arguments: str) -> list[str]:
    """Split at commas outside of <>."""
    parts, depth = [""], 0
    for c in arguments:
        depth += {"<": 1, ">": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts if part.strip()]


def read_javap(text: str) -> dict[str, ApiClass]:
    """Read classes as ``javap -protected -constants`` prints them; levels are 1."""
    found: dict[str, ApiClass] = {}
    for line in text.splitlines():
        if header := re.match(r".*?(?:class|interface) ([\w.$]+)(?:<.*?>)?(?: extends ([\w.]+))?.*\{$", line):
            is_interface = " interface " in f" {line}"
            current = ApiClass(None if is_interface else header[2], 1)
            found[header[1].replace("$", ".")] = current
        elif line.startswith("  ") and line.endswith(";"):
            current.members[_java_member(line.strip().rstrip(";"))] = 1
    return found


def _java_member(text: str) -> Member:
    text = re.sub(r" throws .*", "", text)
    words = re.match(r"(?:(?:public|protected|abstract|final|native|static) )*", text)
    assert words is not None  # it may be empty
    static = "static " in words[0]
    text = text[words.end() :]
    if method := re.fullmatch(r"(?:(.*) )?([\w.$]+)\((.*)\)", text):
        name = "constructor" if method[1] is None else method[2]
        types = tuple(_typescript(argument) for argument in _split(method[3]))
        return Member(name, _typescript(method[1] or "void"), types, static)
    declared, _, value = text.partition(" = ")
    kind, name = declared.rsplit(" ", 1)
    return Member(name, _typescript(kind), None, static, value.strip('"') or None)


def _typescript(kind: str) -> str:
    kind = re.sub(r"<.*>", "", kind).replace("$", ".")
    if kind.endswith("[]"):
        return f"{_typescript(kind[:-2])}[]"
    return "number" if kind in _NUMBERS else _NAMES.get(kind, kind)
