"""Package the built parts as a signed APK, with Debian's aapt, zipalign and apksigner."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from android_demo.parts.command import PartsError, run
from android_demo.parts.native import LIBRARIES

APP = Path(__file__).resolve().parents[1] / "app"
MAIN = APP / "src" / "main"
PAGE_BYTES = 16384  # newer phones map memory in pages of 16 KB
_FRAMEWORK_RESOURCES = Path("/usr/share/android-framework-res/framework-res.apk")
_NAMESPACE = "http://schemas.android.com/apk/res/android"
_PASSWORD = "android"  # of a debug key, as Android Studio's


@dataclass(frozen=True)
class Identity:
    """The app's name, versions and API levels, as app/build.gradle has them."""

    name: str
    min_api: int
    target_api: int
    version_code: int
    version: str


def identity() -> Identity:
    """Read app/build.gradle. Raises PartsError for a value that is missing."""
    text = (APP / "build.gradle").read_text()

    def value(key: str) -> str:
        found = re.search(rf"^\s*{key}\s*=?\s*['\"]?([\w.\-]+)", text, re.MULTILINE)
        if found is None:
            raise PartsError(f"{APP / 'build.gradle'} has no {key}")
        return found[1]

    return Identity(
        name=value("applicationId"),
        min_api=int(value("minSdk")),
        target_api=int(value("targetSdk")),
        version_code=int(value("versionCode")),
        version=value("versionName"),
    )


def package(work: Path, assets: Path, dex: Path, native: dict[str, Path], key: Path) -> Path:
    """Make an APK of the parts below ``work`` and return its path. Raises PartsError."""
    if not _FRAMEWORK_RESOURCES.exists():
        raise PartsError("Android's resources are missing: apt-get install android-framework-res")
    shutil.rmtree(work, ignore_errors=True)
    content = work / "content"
    for abi, folder in native.items():
        (content / "lib" / abi).mkdir(parents=True)
        for library in LIBRARIES:
            shutil.copyfile(folder / library, content / "lib" / abi / library)
    shutil.copyfile(dex, content / "classes.dex")
    app, manifest = identity(), work / "AndroidManifest.xml"
    _write_manifest(app, manifest)
    packed, aligned, signed = (work / name for name in ("packed.apk", "aligned.apk", "signed.apk"))
    aapt: list[object] = ["aapt", "package", "-f", "-M", manifest, "-S", MAIN / "res", "-A", assets]
    aapt += ["-I", _FRAMEWORK_RESOURCES, "-F", packed, "-0", "so", "-0", "pte"]
    run([*aapt, content], "aapt cannot package the app")
    run(["zipalign", "-f", PAGE_BYTES, packed, aligned], "zipalign cannot align the app")
    _sign(aligned, signed, key, app)
    return signed


def _write_manifest(app: Identity, path: Path) -> None:
    """Add to the manifest what Gradle's plugin would."""
    ElementTree.register_namespace("android", _NAMESPACE)
    root = ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()
    root.set("package", app.name)
    root.set(f"{{{_NAMESPACE}}}versionCode", str(app.version_code))
    root.set(f"{{{_NAMESPACE}}}versionName", app.version)
    sdk = {"minSdkVersion": app.min_api, "targetSdkVersion": app.target_api}
    ElementTree.SubElement(root, "uses-sdk", {f"{{{_NAMESPACE}}}{k}": str(v) for k, v in sdk.items()})
    for application in root.iter("application"):
        # The libraries are mapped from the APK, where they lie uncompressed.
        application.set(f"{{{_NAMESPACE}}}extractNativeLibs", "false")
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _sign(aligned: Path, signed: Path, key: Path, app: Identity) -> None:
    """Sign with the key, made where there is none; a phone updates an app only under the same key."""
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True)
        words: list[object] = [
            "keytool",
            "-genkeypair",
            "-keystore",
            key,
            "-storepass",
            _PASSWORD,
            "-alias",
            "debug",
        ]
        words += ["-keyalg", "RSA", "-keysize", 2048, "-validity", 10000, "-dname", "CN=Android Debug"]
        run(words, "keytool cannot make a key")
    signer: list[object] = ["apksigner", "sign", "--ks", key, "--ks-pass", f"pass:{_PASSWORD}"]
    # Since Android 7 a signature of the whole file (v2, v3) replaces those of its entries (v1).
    signer += ["--v1-signing-enabled", "false"]
    run(
        [*signer, "--min-sdk-version", app.min_api, "--out", signed, aligned], "apksigner cannot sign the app"
    )
