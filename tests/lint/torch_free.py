#!/usr/bin/python3
"""Prints the .cc files that include torch neither themselves nor through headers of ours.

usage: torch_free.py FOLDER...   (from the repository's root)
"""
import functools
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
TORCH = re.compile(r"^(torch|ATen|c10)/")


@functools.lru_cache(maxsize=None)
def includes_torch(path):
    with open(path, encoding="utf-8") as file:
        targets = INCLUDE.findall(file.read())
    return any(TORCH.match(target) or (os.path.isfile(target) and includes_torch(target)) for target in targets)


def main():
    for top in sys.argv[1:]:
        for where, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(where, name)
                if name.endswith(".cc") and not includes_torch(path):
                    print(path)


if __name__ == "__main__":
    main()
