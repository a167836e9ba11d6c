"""The data packs of the benchmarks, made once: CIFAR-10 as JPEG from AMC_TEST_DATA, Fashion-MNIST from its Debian package."""
import os
import subprocess
import sys


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout


SPLITS = ["--reconstruction", "5000", "--reward", "5000", "--report", "5000"]


def cifar_images(out):
    """CIFAR-10's folder of images."""
    images = os.path.join(out, "cifar10")
    if not os.path.isdir(images):
        data = os.environ.get("AMC_TEST_DATA") or sys.exit("give --data PACK, or set AMC_TEST_DATA")
        os.makedirs(images + ".part", exist_ok=True)
        run("tar", "xf", os.path.join(data, "data/cifar10-jpeg.tar.xz"), "-C", images + ".part")
        os.rename(images + ".part", images)
    return images


def pack_cifar(amc, out):
    """5,000 reconstruction images from train/, 5,000 reward and 5,000 report images from test/."""
    pack = os.path.join(out, "cifar10.pack")
    if not os.path.exists(pack):
        run(amc, "data", "pack", "--images", cifar_images(out), "--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225",
            *SPLITS, "-o", pack)
    return pack


def pack_fashion(amc, out):
    pack = os.path.join(out, "fashion.pack")
    if not os.path.exists(pack):
        run(amc, "data", "pack", "--idx", "/usr/share/datasets/fashion-mnist", "--mean", "0.2860", "--std", "0.3530", *SPLITS,
            "-o", pack)
    return pack
