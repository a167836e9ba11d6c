#!/usr/bin/python3
"""SciPy and PyTorch must read the matrices that the backends wrote.

usage: sparse_consumers_test.py WRITE_BACKEND_FILES. Needs python3-scipy and python3-torch; skips
(77) without them unless AMC_REQUIRE=1.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")

try:
    import numpy
    import scipy.sparse
    import torch
except ImportError as error:
    print(f"cannot import: {error}")
    sys.exit(1 if os.environ.get("AMC_REQUIRE") == "1" else 77)

TYPES = {"I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F16": "<f2", "BF16": "<u2",
         "F32": "<f4"}


def load(path):
    """The tensors of a safetensors file and its metadata, by the format's description alone."""
    with open(path, "rb") as file:
        content = file.read()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    header = json.loads(content[8:8 + length])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = numpy.dtype(TYPES[entry["dtype"]])
        assert begin % kind.itemsize == 0, "a tensor is not aligned"
        data = content[8 + length:][begin:end]
        tensors[name] = numpy.frombuffer(data, kind).reshape(entry["shape"])
    return tensors, metadata


def check_compressed(path, dense):
    tensors, metadata = load(path)
    shape = int(metadata["rows"]), int(metadata["columns"])
    kind = metadata["format"]
    if kind == "csc":
        matrix = scipy.sparse.csc_matrix(
            (tensors["values"], tensors["row"], tensors["ccol"]), shape)
        want = scipy.sparse.csc_matrix(dense)
    else:
        arrays = tensors["values"], tensors["col"], tensors["crow"]
        maker = scipy.sparse.csr_matrix if kind == "csr" else scipy.sparse.bsr_matrix
        matrix = maker(arrays, shape)
        want = scipy.sparse.csr_matrix(dense)
        if kind == "bsr":
            want = want.tobsr(tensors["values"].shape[1:])
            want.sort_indices()
    matrix.check_format(full_check=True)
    assert matrix.has_canonical_format
    assert numpy.array_equal(matrix.toarray(), dense)
    # SciPy keeps the same entries.
    for name in ("data", "indices", "indptr"):
        assert numpy.array_equal(getattr(matrix, name), getattr(want, name)), (path, name)
    if kind != "csr":
        return
    sparse = torch.sparse_csr_tensor(*(torch.tensor(tensors[name])
                                       for name in ("crow", "col", "values")), shape)
    inputs = torch.randn(shape[1], 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sparse.to_dense(), torch.from_numpy(dense))
    assert torch.allclose(sparse @ inputs, torch.from_numpy(dense) @ inputs, atol=1e-4)


def cutlass_offsets(rows, columns, word_bits):
    """Where each word of the plain metadata goes, on whole tensors."""
    group, weave = (32, 4) if word_bits == 16 else (16, 2)
    r = torch.arange(rows)[:, None].repeat(1, columns)
    c = torch.arange(columns).repeat(rows, 1)
    r = r // group * group + r % 8 * weave + r % group // 8
    move = ((r % 2 == 0) & (c % 2 == 1)).long() - ((r % 2 == 1) & (c % 2 == 0)).long()
    r, c = r + move, c - move
    return (c // 2 * rows * 2 + r * 2 + c % 2).view(-1)


def check_two_of_four(path, dense):
    tensors, metadata = load(path)
    kind = metadata["type"]
    rows, columns = dense.shape
    bits = 32 if kind == "int8" else 16
    words = torch.tensor(tensors["metadata"].astype("i8") & ((1 << bits) - 1))
    nibbles = (words[:, :, None] >> torch.arange(0, bits, 4)) & 15
    nibbles = nibbles.reshape(rows, -1)[:, :columns // 4]
    kept = torch.stack([nibbles & 3, nibbles >> 2], -1)
    assert (kept[..., 0] < kept[..., 1]).all()

    want = torch.from_numpy(dense)
    bits_of = torch.tensor(tensors["values"].view("i2") if kind != "int8" else tensors["values"])
    if kind == "int8":
        scales = (want.abs().amax(1, keepdim=True) / 127).clamp_min(torch.finfo().tiny)
        want = torch.round(want / scales).clamp(-127, 127) * scales
        assert numpy.allclose(tensors["scales"], scales.squeeze(1), rtol=1e-6)
        values = bits_of.float() * torch.tensor(tensors["scales"])[:, None]
    else:
        wanted_type = torch.float16 if kind == "fp16" else torch.bfloat16
        want = want.to(wanted_type).float()
        values = bits_of.view(wanted_type).float()
    read = torch.zeros(rows, columns // 4, 4).scatter_(2, kept, values.view(rows, -1, 2))
    read = read.view(rows, columns)
    assert torch.equal(read, want) if kind != "int8" else torch.allclose(read, want, rtol=1e-5)

    if metadata["cutlass"] != "yes":
        assert "metadata_cutlass" not in tensors
        return False
    plain = torch.tensor(tensors["metadata"])
    reordered = torch.empty_like(plain).view(-1)
    reordered.scatter_(0, cutlass_offsets(*plain.shape, bits), plain.view(-1))
    assert torch.equal(reordered.view(plain.shape), torch.tensor(tensors["metadata_cutlass"]))
    return True


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True)
        counts = {"csr": 0, "csc": 0, "bsr": 0, "fp16": 0, "bf16": 0, "int8": 0}
        reordered = 0
        for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
            stem, backend, _ = path.rsplit(".", 2)
            counts[backend] += 1
            if backend in ("csr", "csc", "bsr"):
                check_compressed(path, numpy.load(stem + ".npy"))
            else:
                reordered += check_two_of_four(path, numpy.load(stem + ".last.npy"))
        print(f"read {counts}, {reordered} with metadata for CUTLASS")
        assert counts == {"csr": 4, "csc": 4, "bsr": 4, "fp16": 3, "bf16": 3, "int8": 3}, counts
        assert reordered == 3, reordered


main()
