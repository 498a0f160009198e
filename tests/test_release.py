"""What is given away: the archives, and what PGXN is told about them."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness.environment import PROJECT

pytestmark = pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="an archive is made of a commit")

# https://semver.org, as https://pgxn.org/spec/ asks for
_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-?[A-Za-z][0-9A-Za-z-]*)?")
_TERM = re.compile(r"[^\s/\\\x00-\x1f]{2,}")
_LICENSES = {
    *("agpl_3", "apache_1_1", "apache_2_0", "artistic_1", "artistic_2", "bsd", "freebsd", "gfdl_1_2", "gfdl_1_3"),
    *("gpl_1", "gpl_2", "gpl_3", "lgpl_2_1", "lgpl_3_0", "mit", "mozilla_1_0", "mozilla_1_1", "openssl", "perl_5"),
    *("postgresql", "qpl_1_0", "ssleay", "sun", "zlib", "open_source", "restricted", "unrestricted", "unknown"),
}
_KEYS = {
    *("abstract", "description", "generated_by", "license", "maintainer", "meta-spec", "name", "no_index", "prereqs"),
    *("provides", "release_status", "resources", "tags", "version"),
}


def make_archives(folder: Path, **environment: str) -> dict[str, bytes]:
    command = f"umask {environment.pop('umask', '022')}; exec {PROJECT}/scripts/make-dist {folder}"
    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", **environment})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_archives(tmp_path_factory.mktemp("dist"))


def test_the_same_commit_gives_the_same_bytes(archives: dict[str, bytes], tmp_path: Path) -> None:
    others = make_archives(tmp_path, TZ="Asia/Tokyo", LC_ALL="C", umask="077")
    assert archives.keys() == others.keys() and len(archives) == 2
    assert all(archives[name] == others[name] for name in archives)


def test_archives_hold_what_is_committed(archives: dict[str, bytes], tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-tree", "-r", "--name-only", "-z", "HEAD"], cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    committed = set(listed.stdout.decode().rstrip("\0").split("\0"))
    for name, content in archives.items():
        path = tmp_path / name
        path.write_bytes(content)
        stem = name.removesuffix(".tar.gz").removesuffix(".zip")
        if name.endswith(".zip"):
            held = [item for item in zipfile.ZipFile(path).namelist() if not item.endswith("/")]
        else:
            held = [item.name for item in tarfile.open(path) if not item.isdir()]
        assert {item.removeprefix(f"{stem}/") for item in held} == committed
    assert "META.json" in committed


def meta_problems(meta: dict[str, Any]) -> list[str]:
    """What the specification of PGXN's META.json, version 1.0.0, objects to."""
    found = [f"no such key: {key}" for key in meta if key not in _KEYS and not re.match("[xX]_", key)]
    needed = ("abstract", "license", "maintainer", "meta-spec", "name", "provides", "version")
    found += [f"{key} is needed" for key in needed if not meta.get(key)]
    if found:
        return found
    if meta["meta-spec"].get("version") != "1.0.0":
        found.append("meta-spec: not version 1.0.0")
    if not _TERM.fullmatch(meta["name"]):
        found.append("name is no term")
    maintainers = meta["maintainer"] if isinstance(meta["maintainer"], list) else [meta["maintainer"]]
    found += ["maintainer is no text" for name in maintainers if not isinstance(name, str) or not name.strip()]
    licenses = meta["license"] if isinstance(meta["license"], list) else [meta["license"]]
    found += [f"license is unknown: {name}" for name in licenses if name not in _LICENSES]
    if meta.get("release_status", "stable") not in ("stable", "testing", "unstable"):
        found.append("release_status is unknown")
    tags = meta.get("tags", [])
    if not all(isinstance(tag, str) and 0 < len(tag) <= 256 and "/" not in tag for tag in tags) or len(set(tags)) < len(tags):
        found.append("tags are no terms")
    for name, extension in {"": meta, **meta["provides"]}.items():
        if not _VERSION.fullmatch(extension.get("version", "")):
            found.append(f"{name or 'version'}: no semantic version")
    for name, extension in meta["provides"].items():
        if not _TERM.fullmatch(name):
            found.append(f"{name} is no term")
        found += [f"{name}: no {key}" for key in ("file", "version") if not extension.get(key)]
        found += [f"{name}: {key}" for key in extension if key not in ("abstract", "file", "docfile", "version")]
    for phase, relations in meta.get("prereqs", {}).items():
        if phase not in ("configure", "runtime", "build", "test", "develop"):
            found.append(f"no such phase: {phase}")
        for relation, versions in relations.items():
            if relation not in ("requires", "recommends", "suggests", "conflicts"):
                found.append(f"no such relation: {relation}")
            found += [f"{name}: {version}" for name, version in versions.items() if not _VERSION.fullmatch(version)]
    return found


def read_meta() -> dict[str, Any]:
    meta: dict[str, Any] = json.loads((PROJECT / "META.json").read_text())
    return meta


def test_meta_is_what_pgxn_reads() -> None:
    meta = read_meta()
    assert meta_problems(meta) == []
    control = (PROJECT / "control/sliding_sync.control").read_text()
    (extension,) = meta["provides"].values()
    assert (PROJECT / extension["file"]).exists() and (PROJECT / extension["docfile"]).exists()
    assert f"comment = '{meta['abstract'][0].lower()}{meta['abstract'][1:]}'" in control


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("name",), "a/b"),
        (("version",), "1.1"),
        (("license",), "PostgreSQL"),
        (("release_status",), "done"),
        (("maintainer",), ""),
        (("meta-spec", "version"), "2.0.0"),
        (("provides",), {}),
        (("provides", "sliding_sync", "file"), ""),
        (("provides", "sliding_sync", "version"), "new"),
        (("prereqs", "running"), {}),
        (("prereqs", "runtime", "requires", "PostgreSQL"), "15"),
        (("tags",), ["a", "a"]),
        (("homepage",), "x"),
    ],
)
def test_meta_that_pgxn_would_refuse(place: tuple[str, ...], value: object) -> None:
    meta = part = read_meta()
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    assert meta_problems(meta) != []
