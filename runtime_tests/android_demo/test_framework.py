"""The stubs of Android's framework, which the app is compiled against, and Android's published API."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from android_demo.parts.java import FRAMEWORK, SOURCES, compile_java
from android_demo.parts.npm import FRAMEWORK_TYPES
from android_demo.parts.package import identity
from runtime_tests.android_demo.android_api import ApiClass, Member, read_api, read_javap
from runtime_tests.native_builds import made_once, require, run

#: The bases that javap leaves out, as the metadata does not.
_BASES_LEFT_OUT = {None, "java.lang.Object"}


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ApiClass]:
    require("javac", "javap")
    folder = made_once(
        tmp_path_factory, "app-framework", lambda path: compile_java(FRAMEWORK, path / "classes")
    )
    classes = sorted((folder / "classes").rglob("*.class"))
    return read_javap(run(["javap", "-protected", "-constants", *classes]))


@pytest.fixture(scope="session")
def api(stubs: dict[str, ApiClass], npm_parts: Path) -> dict[str, ApiClass]:
    return read_api(npm_parts / FRAMEWORK_TYPES, set(stubs))


def test_every_class_of_the_stubs_is_androids(stubs, api):
    assert len(stubs) > 40
    assert set(stubs) == set(api)
    assert {name for name, found in api.items() if found.since > identity().min_api} == set()
    assert {
        name: (found.base, api[name].base)
        for name, found in stubs.items()
        if found.base not in _BASES_LEFT_OUT and found.base != api[name].base
    } == {}


def test_every_member_of_the_stubs_is_androids(stubs, api):
    unknown = [
        f"{name}.{member}"
        for name, found in stubs.items()
        for member in found.members
        if member not in api[name].members
    ]
    assert unknown == []


def test_members_newer_than_the_lowest_android_are_guarded(stubs, api):
    """Where the app uses one, the statement asks for that level first: ``Build.VERSION.SDK_INT >= 29``."""
    newer = {
        member.name: since
        for name, found in stubs.items()
        for member in found.members
        if (since := api[name].members.get(member, 1)) > identity().min_api
    }
    assert set(newer) == {"SOC_MODEL", "getCurrentThermalStatus", "THERMAL_STATUS_MODERATE"}
    for path in SOURCES.rglob("*.java"):
        source = path.read_text(encoding="utf-8")
        for use in re.finditer(rf"\.({'|'.join(newer)})\b", source):
            asked = re.findall(r"SDK_INT >= (\d+)", source[: use.start()][-200:])
            assert asked, f"{path.name} uses {use[1]} unasked"
            assert int(asked[-1]) >= newer[use[1]], f"{path.name} uses {use[1]}"


def test_stubs_have_nothing_that_the_app_does_not_use(stubs):
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.java"))
    stub_source = "".join(path.read_text(encoding="utf-8") for path in FRAMEWORK.rglob("*.java"))
    members = {member.name for found in stubs.values() for member in found.members} - {"constructor"}
    assert {name for name in members if not re.search(rf"\b{name}\b", source)} == set()
    classes = {name.rsplit(".", 1)[1] for name in stubs}
    assert {name for name in classes if len(re.findall(rf"\b{name}\b", source + stub_source)) < 2} == set()


def test_the_comparison_tells_differences():
    (read,) = read_javap(
        "public final class a.B$C extends a.B {\n"
        '  public static final java.lang.String NAME = "n";\n'
        "  protected native java.util.List<a.B> all(long[], java.util.Map<a.B, a.B>) throws a.E;\n"
        "  public a.B$C(int);\n"
        "}\n"
    ).items()
    assert read == (
        "a.B.C",
        ApiClass(
            "a.B",
            1,
            {
                Member("NAME", "string", None, True, "n"): 1,
                Member("all", "java.util.List", ("number[]", "java.util.Map"), False): 1,
                Member("constructor", "void", ("number",), False): 1,
            },
        ),
    )
