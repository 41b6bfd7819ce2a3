"""Builds nori_lsm._core: the C core and its binding, with the system's liblz4, libxxhash and libzstd."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBIAN_PACKAGES = {"liblz4": "liblz4-dev", "libxxhash": "libxxhash-dev", "libzstd": "libzstd-dev"}
DEBUG = os.environ.get("NORI_DEBUG") == "1"


def pkg_config(option, *packages):
    try:
        found = subprocess.run(["pkg-config", option, *packages], capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("nori_lsm needs pkg-config to find its libraries (Debian: apt install pkg-config)")
    return found.stdout.split() if found.returncode == 0 else None


def library_flags(option):
    missing = [name for name in DEBIAN_PACKAGES if pkg_config("--exists", name) is None]
    if missing:
        wanted = " ".join(DEBIAN_PACKAGES[name] for name in missing)
        sys.exit(f"nori_lsm needs {', '.join(missing)}, which pkg-config does not find (Debian: apt install {wanted})")
    return pkg_config(option, *DEBIAN_PACKAGES)


class ParallelBuild(build_ext):
    """Compiles the sources of the extension side by side."""

    def build_extension(self, ext):
        ext.extra_compile_args += library_flags("--cflags")
        ext.extra_link_args += library_flags("--libs")
        compile_in_order = self.compiler.compile

        def compile(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return sum(pool.map(lambda source: compile_in_order([source], **options), sources), [])

        self.compiler.compile = compile
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_in_order


compile_args = ["-std=c11", "-fvisibility=hidden", "-D_GNU_SOURCE", "-pthread"]
# Errors of newer compilers, whichever is used here.
compile_args += ["-Werror=implicit-function-declaration", "-Werror=int-conversion"]
compile_args += ["-Werror=incompatible-pointer-types"]
compile_args += ["-O1", "-g", "-DNR_DEBUG", "-UNDEBUG"] if DEBUG else ["-O2"]

setup(
    ext_modules=[
        Extension(
            "nori_lsm._core",
            sources=sorted(glob("csrc/**/*.c", recursive=True)),
            depends=sorted(glob("csrc/**/*.h", recursive=True)),
            include_dirs=["csrc", "csrc/include"],
            extra_compile_args=compile_args,
            extra_link_args=["-pthread", "-lm"],
        )
    ],
    cmdclass={"build_ext": ParallelBuild},
)
