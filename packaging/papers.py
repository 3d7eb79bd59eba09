#!/usr/bin/env python3
"""Writes the papers that go with a package, from what the project has anyway.

    packaging/papers.py TARGET EPOCH STAGE

TARGET is the Rust target whose dependencies count, EPOCH the date of everything (seconds since
1970), STAGE the directory to write to: changelog (Debian's format), deploywatch.toml.5,
THIRD-PARTY-LICENSES and sbom.cdx.json (CycloneDX). The same commit gives the same bytes.
"""

import datetime
import email.utils
import json
import pathlib
import re
import subprocess
import sys
import textwrap
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
LICENSE_NAMES = re.compile(r"(?i)^(licen[cs]e|copying|notice|copyright|unlicense)")


def main():
    target, epoch, stage = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    metadata = cargo_metadata(target)
    own = next(p for p in metadata["packages"] if p["name"] == "deploywatch")
    linked = linked_packages(metadata, own)
    papers = {
        "changelog": debian_changelog(own, epoch),
        "deploywatch.toml.5": config_manual(epoch),
        "THIRD-PARTY-LICENSES": licenses(linked),
        "sbom.cdx.json": bill_of_materials(metadata, own, linked, target, epoch),
    }
    for name, text in papers.items():
        (stage / name).write_text(text)


def cargo_metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked_packages(metadata, own):
    """What is linked into the program: reached by normal dependencies, not through macros."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    is_macro = {
        id: all("proc-macro" in t["kind"] for t in p["targets"] if "lib" in t["kind"] or "proc-macro" in t["kind"])
        for id, p in packages.items()
    }
    seen, waiting = set(), [own["id"]]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            id = dependency["pkg"]
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and not is_macro[id] and id not in seen:
                seen.add(id)
                waiting.append(id)
    linked = [packages[id] for id in seen]
    linked.append(standard_library())
    return sorted(linked, key=lambda p: (p["name"], p["version"]))


def standard_library():
    """Rust's own library is linked in, too, and stands in no lock file."""
    said = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    version = re.search(r"^release: (.+)$", said, flags=re.M)[1]
    return {"id": "std", "name": "rust-std", "version": version, "license": "MIT OR Apache-2.0"}


def debian_changelog(own, epoch):
    """CHANGELOG.md in Debian's format; what is unreleased there is this version."""
    maintainer = own["metadata"]["deb"]["maintainer"]
    date = email.utils.formatdate(epoch)
    entries = []
    text = (ROOT / "packaging/CHANGELOG.md").read_text()
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        head, _, body = section.partition("\n")
        version = own["version"] if head.startswith("Unreleased") else head.split()[0]
        changes = []
        for item in re.split(r"^- ", body, flags=re.M):
            item = " ".join(item.split())
            if item:
                wrapped = textwrap.wrap(item, 74, break_long_words=False, break_on_hyphens=False)
                changes.append("  * " + "\n    ".join(wrapped))
        released = re.search(r"\d{4}-\d\d-\d\d", head)
        if released:
            day = datetime.datetime.fromisoformat(released[0] + "T12:00:00+00:00")
            date = email.utils.format_datetime(day)
        entries.append(
            f"deploywatch ({version}-1) stable; urgency=medium\n\n"
            + "\n".join(changes)
            + f"\n\n -- {maintainer}  {date}\n"
        )
    return "\n".join(entries)


def config_manual(epoch):
    """The commented configuration as a manual page: each key with its comment and default."""
    day = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc)
    conf = (ROOT / "conf/deploywatch.toml").read_text()
    head = (ROOT / "packaging/deploywatch.toml.5.head").read_text()
    foot = (ROOT / "packaging/deploywatch.toml.5.foot").read_text()
    out = [head.replace("@DATE@", f"{day:%B} {day.day}, {day.year}").rstrip()]
    words, in_list = [], False

    def paragraph():
        nonlocal words
        text = " ".join(words)
        words = []
        return [roff(line) for line in textwrap.wrap(text, 96, break_long_words=False)]

    def close():
        nonlocal in_list
        if in_list:
            out.append(".El")
        in_list = False

    def open_section(name):
        close()
        out.append(f'.Sh "{roff(name)}"')
        out.extend(paragraph())

    # The first paragraph is about the file itself, which the head of the page tells.
    for line in conf.split("\n\n", 1)[1].splitlines():
        section = re.match(r"(?:# )?(\[+[a-z.]+\]+)$", line)
        key = re.match(r"# ?([a-z_0-9]+ = .*)$", line)
        if section:
            open_section(section[1])
        elif key:
            if not in_list:
                out.append(".Bl -tag -width Ds")
            in_list = True
            out.append(f".It Li {quoted(key[1])}")
            out.extend(paragraph())
        elif line in ("", "#"):
            # A comment that no key follows: a remark between two groups of keys.
            if words:
                close()
                out.append(".Pp")
                out.extend(paragraph())
        else:
            words.append(line.lstrip("#").strip())
    close()
    return "\n".join(out) + "\n" + foot


def roff(text):
    """Text that means only itself to roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("^", "\\(ha")
    text = text.replace("~", "\\(ti")
    return "\\&" + text if text[:1] in (".", "'") else text


def quoted(text):
    return '"' + roff(text).replace('"', "\\(dq") + '"'


def licenses(linked):
    """Every library with its licence; a text that several share stands once."""
    out = ["Libraries linked into deploywatch, and their licences.\n"]
    texts = {}
    for package in linked:
        name = f"{package['name']} {package['version']}"
        out.append(f"{name}: {package['license'] or 'see the text below'}")
        folder = pathlib.Path(package.get("manifest_path", ROOT / "none")).parent
        # Of the standard library and of ourselves LICENSE tells enough.
        found = [] if folder == ROOT else sorted(path for path in folder.iterdir() if path.is_file() and LICENSE_NAMES.match(path.name))
        for path in found:
            text = "\n".join(line.rstrip() for line in path.read_text(errors="replace").splitlines()).strip()
            texts.setdefault(text, []).append(name)
    for text, names in texts.items():
        names = textwrap.fill(", ".join(dict.fromkeys(names)), 96, break_long_words=False)
        out.append("\n" + "=" * 96 + f"\n{names}\n" + "=" * 96 + f"\n\n{text}")
    return "\n".join(out) + "\n"


def bill_of_materials(metadata, own, linked, target, epoch):
    """CycloneDX 1.5, each library with version, licence and package URL."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    nodes["std"] = {"deps": []}
    url = {p["id"]: f"pkg:cargo/{p['name']}@{p['version']}" for p in [own, *linked]}
    url["std"] = f"pkg:generic/rust-std@{standard_library()['version']}"
    sums = lock_checksums()

    def component(package):
        entry = {
            "type": "library",
            "bom-ref": url[package["id"]],
            "name": package["name"],
            "version": package["version"],
            "purl": url[package["id"]],
        }
        if package["license"]:
            entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if (package["name"], package["version"]) in sums:
            entry["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        return entry

    dependencies = [
        {
            "ref": url[package["id"]],
            "dependsOn": sorted({url[d["pkg"]] for d in nodes[package["id"]]["deps"] if d["pkg"] in url}),
        }
        for package in [own, *linked]
    ]
    date = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, f"{url[own['id']]}?{target}&{epoch}")),
        "version": 1,
        "metadata": {
            "timestamp": date,
            "component": {**component(own), "type": "application"},
            "properties": [{"name": "rust:target", "value": target}],
        },
        "components": [component(package) for package in linked],
        "dependencies": dependencies,
    }
    return json.dumps(bom, indent=1) + "\n"


def lock_checksums():
    lock = (ROOT / "Cargo.lock").read_text()
    blocks = re.findall(r'name = "(.+)"\nversion = "(.+)"\n(?:source = .+\n)?(?:checksum = "(.+)")?', lock)
    return {(name, version): checksum for name, version, checksum in blocks if checksum}


if __name__ == "__main__":
    main()
