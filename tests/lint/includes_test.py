#!/usr/bin/python3
"""Checks every #include against the table in docs/architecture.md.

usage: includes_test.py [ROOT]
"""
import os
import re
import sys

# Third-party headers and the places that may include them (path prefixes).
THIRD_PARTY = [
    (re.compile(r"^(torch|ATen|c10)/"), ["env/exec/", "env/train/", "env/prune/", "agent/"]),
    (re.compile(r"^sqlite3\.h$"), ["storage/"]),
    (re.compile(r"^(grpc|grpcpp|grpc\+\+)/"), ["server/"]),
    (re.compile(r"\.grpc\.pb\.h$"), ["server/"]),
    (re.compile(r"^onnx[-_./]"), ["env/graph/onnx_"]),
    (re.compile(r"^google/protobuf/|\.pb\.h$"), ["env/graph/onnx_", "storage/", "server/"]),
    (re.compile(r"^openssl/"), ["base/sha256.cc", "server/credentials.cc"]),
    (re.compile(r"^CLI/"), ["server/"]),
    (re.compile(r"^(xnnpack|pthreadpool)\.h$"), ["env/backend/xnnpack_product.cc"]),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def read_table(path):
    """{folder: set of folders it may include}, from the first table under 'may include'."""
    table = {}
    rows = False
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("| folder | may include"):
                rows = True
            elif rows and line.startswith("| ---"):
                continue
            elif rows and line.startswith("|"):
                folder, allowed = [cell.strip() for cell in line.strip().strip("|").split("|")]
                table[folder] = {name.strip() for name in allowed.split(",")}
            elif rows:
                break
    return table


def folder_of(path, folders):
    """The longest folder of the table that holds `path`, or None."""
    best = None
    for folder in folders:
        if path.startswith(folder + "/") and (best is None or len(folder) > len(best)):
            best = folder
    return best


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
    os.chdir(root)
    table = read_table("docs/architecture.md")
    if len(table) < 10:
        print("docs/architecture.md: table of includes not found")
        return 1
    faults = []
    files = 0
    for top in sorted({folder.split("/")[0] for folder in table}):
        for where, _, names in os.walk(top):
            for name in sorted(names):
                if not name.endswith((".h", ".cc")):
                    continue
                path = os.path.join(where, name)
                owner = folder_of(path, table)
                files += 1
                with open(path, encoding="utf-8") as lines:
                    for number, line in enumerate(lines, 1):
                        match = INCLUDE.match(line)
                        if not match:
                            continue
                        target = match.group(1)
                        for pattern, places in THIRD_PARTY:
                            if pattern.search(target) and not path.startswith(tuple(places)):
                                faults.append(f"{path}:{number}: {target} may be included from {', '.join(places)} only")
                        if target.startswith("amc/v1/"):
                            wanted = "proto"
                        else:
                            wanted = folder_of(target, table)
                        if wanted and wanted != owner and wanted not in table[owner]:
                            faults.append(f"{path}:{number}: {owner} may not include {target} ({wanted})")
    print("\n".join(faults))
    print(f"{files} files, {len(faults)} faults")
    return 1 if faults or files < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
