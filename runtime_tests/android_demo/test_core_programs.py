"""The store of programs: what is added, what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.latency.exported import open_exported
from edge.latency.gather import gather
from edge.runtime.manifest import FileRecord, Manifest, read_manifest, record_file
from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import DesktopApp, Refused

#: Changes an export folder.
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def program(story_program: StoryPrograms) -> Path:
    return story_program("2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def app(run_app: RunApp, data: Path) -> Iterator[DesktopApp]:
    """An app without programs. Tests leave it so."""
    with run_app(data) as app:
        yield app


def everything_in(data: Path) -> list[str]:
    return sorted(str(path.relative_to(data)) for path in data.rglob("*"))


def reseal(folder: Path, **changes: object) -> None:
    """Change a manifest and give it the right checksum, as who can write the files can."""
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    changed = manifest.model_copy(update=changes).sealed()
    (folder / "manifest.json").write_text(changed.model_dump_json(indent=2))


def test_a_program_is_added_described_and_deleted(app, data, program):
    before = everything_in(data)
    assert app.add(program) is None
    (model,) = app.models()
    manifest = read_manifest(program)
    (candidate,) = gather([program], [], [], [], Path(), print)
    assert model["label"] == candidate.record.label
    assert model["format"] == candidate.record.format
    assert model["perplexity"] == manifest.verification.perplexity_program
    assert model["eos_ids"] == list(manifest.config.eos_ids)
    assert model["file_bytes"] == manifest.program.bytes
    assert model["planned_bytes"] == manifest.program.bytes + manifest.kv_cache_bytes
    assert (model["embedded"], model["refusal"]) == (False, None)
    status, content = app.request("GET", f"/models/{model['id']}/tokenizer.json")
    assert (status, content) == (200, (program / "tokenizer.json").read_bytes())
    assert app.request("GET", f"/models/{model['id']}/model.pte/../manifest.json")[0] == 404

    assert "is here already" in app.add(program)
    app.delete(model["id"])
    assert app.models() == []
    assert everything_in(data) == before
    with pytest.raises(Refused, match="no program"):
        app.call("models.delete", id=model["id"])


def edit_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"trained"', '"random"'))


def other_version(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 5', '"schema_version": 4'))


def flip_byte(folder: Path) -> None:
    content = bytearray((folder / "model.pte").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.pte").write_bytes(content)


def truncate(folder: Path) -> None:
    os.truncate(folder / "model.pte", 1000)


def lengthen(folder: Path) -> None:
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" ")


def unlist_path(folder: Path) -> None:
    reseal(folder, tokenizer=FileRecord.model_construct(name="../../t.json", bytes=1, sha256="0" * 64))


def unknown_op(folder: Path) -> None:
    """A program whose ops the app's runtime lacks."""
    path = folder / "model.pte"
    path.write_bytes(path.read_bytes().replace(b"lowbit::norm_linear", b"lowbit::norm_lineaX"))
    reseal(folder, program=record_file(path))


def other_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["too much"] = 4096
    path.write_text(json.dumps(content))
    reseal(folder, tokenizer=record_file(path))


def sentencepiece_of(pieces: int) -> Change:
    """A tokenizer.model with so many pieces; the program has 4096."""

    def change(folder: Path) -> None:
        path = folder / "tokenizer.model"
        piece = b"\x0a\x01a\x15" + struct.pack("<f", -1.0)
        path.write_bytes((b"\x0a" + bytes([len(piece)]) + piece) * pieces)
        reseal(folder, tokenizer=record_file(path))

    return change


REFUSALS: list[tuple[Change, str]] = [
    (edit_manifest, "was altered after its export (its checksum differs)"),
    (other_version, "is of version 4 and this app reads version 5: export the program again"),
    (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "is no manifest of an export"),
    (lambda folder: (folder / "model.pte").unlink(), "model.pte is missing"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    (flip_byte, "model.pte was altered after its export (its hash differs)"),
    (truncate, "model.pte has 1000 bytes instead of the "),
    (lengthen, "tokenizer.json has more bytes than the "),
    (unlist_path, "a file's name may not be ../../t.json"),
    (
        unknown_op,
        "model.pte cannot be run by this app (the program needs operators that are not loaded: lowbit::",
    ),
    (other_tokenizer, "tokenizer.json does not fit: it has 4097 ids and the program 4096"),
    (sentencepiece_of(4097), "tokenizer.model does not fit: it has 4097 ids"),
    (lambda folder: reseal(folder, max_seq_len=511), "longest sequence is 512 and its manifest says 511"),
    (
        lambda folder: reseal(folder, format="elastic"),
        "number of elastic layers is 0 and its manifest says 6: export the program again",
    ),
    (lambda folder: reseal(folder, kv_cache_bytes=10**15), "needs at least 1000000.0 GB of memory"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSALS)
def test_what_is_not_as_exported_is_refused_and_leaves_nothing(
    app, data, program, tmp_path, change, sentence
):
    folder = Path(shutil.copytree(program, tmp_path / "export"))
    before = everything_in(data)
    change(folder)
    refusal = app.add(folder)
    assert refusal is not None
    assert sentence in refusal
    assert refusal.endswith(".")
    assert "\n" not in refusal
    assert app.models() == []
    assert everything_in(data) == before


def test_a_sentencepiece_tokenizer_that_fits_is_taken(app, program, tmp_path):
    folder = Path(shutil.copytree(program, tmp_path / "export"))
    sentencepiece_of(4096)(folder)
    assert app.add(folder) is None
    (model,) = app.models()
    assert model["tokenizer"] == "tokenizer.model"
    app.delete(model["id"])


def test_a_chat_template_and_its_markers_come_along(app, program, tmp_path):
    folder = Path(shutil.copytree(program, tmp_path / "export"))
    (folder / "chat_template.jinja").write_text("{{ bos_token }}")
    reseal(folder, chat_template=record_file(folder / "chat_template.jinja"), markers={"bos_token": "<s>"})
    assert app.add(folder) is None
    (model,) = app.models()
    assert (model["chat_template"], model["markers"]) == ("chat_template.jinja", {"bos_token": "<s>"})
    assert app.request("GET", f"/models/{model['id']}/chat_template.jinja") == (200, b"{{ bos_token }}")
    app.delete(model["id"])


def test_the_checksum_is_pythons_whatever_the_numbers(app, program, tmp_path):
    """An intact manifest is refused only for what is missing beside it."""
    folder = tmp_path / "export"
    folder.mkdir()
    manifest = read_manifest(program)
    odd = random.Random(1)
    powers = [2.0**exponent for exponent in range(-1074, 1024, 7)]
    decimals = [float(f"1e{exponent}") for exponent in range(-20, 23)]
    anything = [struct.unpack("<d", odd.randbytes(8))[0] for _ in range(300)]
    numbers = [
        abs(x) for x in [*powers, *decimals, *anything, 0.1, 1 / 3, 123456789012345680.0] if abs(x) < 1e308
    ]
    fields = [
        "logit_rms",
        "rounding_rms",
        "program_rms",
        "prefill_rms",
        "perplexity_eager",
        "perplexity_bound",
    ]
    while numbers:
        taken = {field: numbers.pop() if numbers else 0.0 for field in fields}
        changed = manifest.model_copy(
            update={
                "model": 'names "in" \\ any \u00e4lphabet \U0001f600 \x7f',
                "verification": manifest.verification.model_copy(update=taken),
            }
        )
        (folder / "manifest.json").write_text(changed.sealed().model_dump_json())
        assert app.add(folder) == "model.pte is missing: choose it together with manifest.json."


def test_nothing_is_half_added_on_a_full_disk(run_app, program, tmp_path):
    with run_app(tmp_path, most_file_bytes=1 << 20) as app:
        before = everything_in(tmp_path)
        refusal = app.add(program)
        assert refusal is not None
        assert refusal.startswith("The program could not be stored (")
        assert "nothing was added: make room" in refusal
        assert app.models() == []
        assert everything_in(tmp_path) == before


def test_storage_that_is_too_small_is_known_before_copying(run_app, program, tmp_path):
    folder = Path(shutil.copytree(program, tmp_path / "export"))
    huge = record_file(folder / "model.pte").model_copy(update={"bytes": 10**15})
    reseal(folder, program=huge)
    readings = tmp_path / "readings.properties"
    readings.write_text(f"memory_bytes={10**18}")
    with run_app(tmp_path / "data", readings=readings) as app:
        refusal = app.add(folder)
        assert refusal is not None
        assert refusal.startswith("The program needs 1000000.0 GB of storage and ")
        assert refusal.endswith(" are free: make room and add it again.")


def test_a_process_that_dies_while_adding_leaves_nothing(run_app, program, tmp_path):
    folder = Path(shutil.copytree(program, tmp_path / "export"))
    content = (folder / "model.pte").read_bytes()
    (folder / "model.pte").unlink()
    os.mkfifo(folder / "model.pte")  # a file whose second half never comes
    data = tmp_path / "data"
    with run_app(data) as app:
        before = everything_in(data)
        app.call("models.add", path=str(folder))
        with (folder / "model.pte").open("wb") as pipe:
            pipe.write(content[: len(content) // 2])
            pipe.flush()
            assert everything_in(data) != before
            app.kill()
    with run_app(data) as app:
        assert app.models() == []
        assert everything_in(data) == before


def test_a_phone_with_too_little_memory_refuses_before_loading(run_app, program, tmp_path):
    readings = tmp_path / "readings.properties"
    readings.write_text("memory_bytes=2000000")
    data = tmp_path / "data"
    with run_app(data, readings=readings) as app:
        refusal = app.add(program)
        assert refusal is not None
        assert refusal.startswith("This program needs at least 3.2 MB of memory and the device has 2.0 MB")
        assert app.models() == []
    with run_app(data) as app:
        assert app.add(program) is None
    with run_app(data, readings=readings) as app:  # moved to a smaller phone
        (model,) = app.models()
        assert model["refusal"] == refusal
        with pytest.raises(Refused, match=r"needs at least 3\.2 MB"):
            app.call("generate.start", model=model["id"], tokens=[1])


def test_embedded_programs_are_those_of_the_app(run_app, story_program, tmp_path):
    two, four = story_program("2"), story_program("4")
    with run_app(tmp_path, models=[two, four]) as app:
        assert [(m["bits"], m["embedded"]) for m in app.models()] == [(2.0, True), (4.0, True)]
        with pytest.raises(Refused, match="a part of the app"):
            app.call("models.delete", id=app.models()[0]["id"])
        assert "is here already" in app.add(two)
    with run_app(tmp_path, models=[four]) as app:  # a newer version of the app
        assert [m["bits"] for m in app.models()] == [4.0]
        assert app.add(two) is None
    with run_app(tmp_path, models=[two]) as app:  # which has it now
        assert [(m["bits"], m["embedded"]) for m in app.models()] == [(2.0, True)]


def test_a_file_that_storage_damaged_is_not_run(run_app, program, tmp_path):
    with run_app(tmp_path, models=[program]) as app:
        (model,) = app.models()
        (path,) = tmp_path.rglob("model.pte")
        assert open_exported(path.parent).manifest.program.sha256
        flip_byte(path.parent)
        app.call(
            "generate.start",
            model=model["id"],
            tokens=[1],
            max_new_tokens=1,
            temperature=0,
            top_p=1,
            top_k=0,
            seed=0,
        )
        failed = app.wait_for("failed", "done")
        assert failed["event"] == "failed"
        assert failed["error"].startswith("model.pte is not as it was exported")
        os.truncate(path, 100)
        assert app.models()[0]["refusal"].startswith("model.pte is not as it was exported")
