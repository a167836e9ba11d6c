#!/usr/bin/env bash
# clang's view of the code, from BUILD/compile_commands.json, two files at a time.
#
#   clang_checks.sh BUILD_DIR thread-safety   lock annotations of server and storage
#   clang_checks.sh BUILD_DIR tidy            clang-tidy on files that do not include torch
set -euo pipefail
build=$(realpath "$1")
kind=$2
cd "$(dirname "$0")/../.."
root=$PWD

case $kind in
  thread-safety)
    # The compile command of each file, with clang in place of g++ and syntax only.
    python3 - "$build" "$root" <<'PY' >"$build/thread_safety_commands"
import json, re, shlex, sys
build, root = sys.argv[1:]
for entry in json.load(open(f"{build}/compile_commands.json")):
    path = entry["file"]
    if not re.match(re.escape(root) + r"/(server|storage|base)/", path):
        continue
    # From the first flag on: a launcher and the compiler stand before it.
    words = shlex.split(entry["command"])
    first = next(i for i, word in enumerate(words) if word.startswith("-"))
    keep, skip = [], False
    for word in words[first:]:
        if not skip and word not in ("-o", "-c", "-MF", "-MT", "-MD", path):
            keep.append(word)
        skip = word in ("-o", "-MF", "-MT")
    print(shlex.join(["clang++", *keep, "-Wno-everything", "-Wthread-safety", "-Werror=thread-safety", "-fsyntax-only", path]))
PY
    count=$(wc -l <"$build/thread_safety_commands")
    [ "$count" -gt 5 ] || { echo "only $count files found in compile_commands.json"; exit 1; }
    tr '\n' '\0' <"$build/thread_safety_commands" | xargs -0 -P 2 -I{} bash -c '{}'
    echo "thread-safety: $count files" ;;
  tidy)
    mapfile -t files < <(python3 tests/lint/torch_free.py base env agent storage server)
    [ ${#files[@]} -gt 100 ] || { echo "only ${#files[@]} files found"; exit 1; }
    printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P 2 clang-tidy --quiet -p "$build" 2>/dev/null
    echo "tidy: ${#files[@]} files" ;;
  *) echo "unknown check $kind"; exit 2 ;;
esac
