"""Builds the compiled core: each file of kernels once for every instruction set and precision.

`fastnn/_core/kernels/linear.pyx` becomes `fastnn._core.v4_float32.linear` and so on: one source,
translated to C once, and told by macros and flags what `real` is and how wide a vector.
fastnn/_core/dispatch.py picks the best at import.

Environment variables:

FASTNN_BUILD_ISA   comma-separated instruction sets to build ("v4" makes a quick build in place)
FASTNN_DEBUG       1: no optimization, bounds checks, address and undefined-behaviour sanitizers
"""

import os
import platform
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("FASTNN_DEBUG") == "1"
CORE = Path("fastnn/_core")
TRANSLATED = Path("build/cython")
CORE_MODULES = [
    *("cpu", "threads", "tasks", "aligned", "augmentation", "external"),
    *("program_lock", "constants", "taps", "program", "feed", "epoch", "shuffle", "rounds"),
]
FAMILIES = sorted(path.stem for path in (CORE / "kernels").glob("*.pyx"))

# Levels of x86-64 by name; elsewhere one plain build. The vector width of the widest level has to
# be asked for: compilers prefer 256 bits.
X86_LEVELS = {
    "v2": ["-march=x86-64-v2"],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
LEVELS = X86_LEVELS if ON_X86 else {"base": []}
PRECISIONS = {"float32": [], "float64": [("FASTNN_DOUBLE", "1")]}

# Never -ffast-math: NaN has to stay NaN, and denormals have to stay in the user's process. Sums are
# vectors already, so that -fassociative-math would only undo the two-part constants of exp.
OPTIMIZE = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
# Register tiles are loops over literals: they must unroll to the last, or they live in memory.
UNROLL = ["--param=max-completely-peeled-insns=4000", "--param=max-completely-peel-times=64"]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SANITIZE += ["-fno-omit-frame-pointer"]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": DEBUG,
    "embedsignature": True,
}


def compiler_accepts(*flags):
    """Whether the C compiler takes the flags, found by compiling and linking one line."""
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int main(void) { return 0; }\n")
        command = [*compiler, *flags, str(source), "-o", str(Path(folder, "probe"))]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


OPENMP = ["-fopenmp"] if compiler_accepts("-fopenmp") else []
FLAGS = SANITIZE if DEBUG else [flag for flag in OPTIMIZE + UNROLL if compiler_accepts(flag)]
LINK = OPENMP + (["-fsanitize=address,undefined"] if DEBUG else [])
# A kernel inlines the functions of its .pxd files, always: they are written once and unrolled
# where they are called with literals.
INLINE = [("CYTHON_INLINE", "inline __attribute__((always_inline, unused))")]
# What each file of kernels includes first. Reading these headers, most of them intrinsics, took a
# third of their compiling: GCC takes a precompiled copy that it finds beside them.
HEADERS = "#define PY_SSIZE_T_CLEAN\n#include <Python.h>\n#include <simd.h>\n"
HEADER = "kernel_headers.h"


def extension(name, source, macros=(), flags=(), depends=()):
    return Extension(
        name,
        [str(source)],
        include_dirs=[str(CORE), np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), *macros],
        extra_compile_args=[*FLAGS, *OPENMP, *flags, "-Wno-psabi", "-Wno-unused-function"],
        extra_link_args=LINK,
        depends=[str(CORE / "simd.h"), *depends],
    )


def translate(extensions):
    """Cython's work, on all cores."""
    return cythonize(
        extensions,
        build_dir=str(TRANSLATED),
        compiler_directives=DIRECTIVES,
        nthreads=os.cpu_count(),
    )


def write_if_new(path, text):
    """Writes a file, unless it holds this text: then it keeps its time, and what is made of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def build_of_kernels(family, translated, level, precision):
    """An extension of a file of kernels for one instruction set and precision.

    Its source includes the C code that all of them share: objects are told by the names of sources.
    """
    folder = f"{level}_{precision}"
    source = TRANSLATED / folder / f"{family}.c"
    included = os.path.relpath(translated, source.parent)
    write_if_new(source, f'#include <{HEADER}>\n#include "{included}"\n')
    macros = [*PRECISIONS[precision], *INLINE]
    name = f"fastnn._core.{folder}.{family}"
    return extension(name, source, macros, LEVELS[level], [translated])


def all_extensions():
    wanted = os.environ.get("FASTNN_BUILD_ISA", ",".join(LEVELS)).split(",")
    unknown = set(wanted) - set(LEVELS)
    if unknown:
        raise SystemExit(f"FASTNN_BUILD_ISA names {sorted(unknown)}; there are {sorted(LEVELS)}")
    core = [extension(f"fastnn._core.{name}", CORE / f"{name}.pyx") for name in CORE_MODULES]
    kernels = [
        extension(f"fastnn._core.kernels.{family}", CORE / "kernels" / f"{family}.pyx")
        for family in FAMILIES
    ]
    translated = translate(core + kernels)
    return translated[: len(core)] + [
        build_of_kernels(family, kernel.sources[0], level, precision)
        for family, kernel in zip(FAMILIES, translated[len(core) :], strict=True)
        for level in wanted
        for precision in PRECISIONS
    ]


class ParallelBuild(build_ext):
    """Compiles on all cores, and makes the folders that a build in place copies into."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        if self.inplace:
            for module in self.extensions:
                Path(*module.name.split(".")[:-1]).mkdir(exist_ok=True)

    def build_extensions(self):
        builds = {}
        for module in self.extensions:
            folder = Path(module.sources[0]).parent
            if folder.parent == TRANSLATED:
                module.include_dirs.insert(0, str(self.headers_of(folder.name).parent))
                builds[folder.name] = module
        with ThreadPoolExecutor(self.parallel) as pool:
            list(pool.map(self.precompile_headers, builds, builds.values()))
        super().build_extensions()

    def headers_of(self, folder):
        """Where the headers of an instruction set and precision are: a folder for each Python."""
        return Path(self.build_temp, folder, HEADER)

    def precompile_headers(self, folder, module):
        """Precompiles the headers, with the flags of an extension that includes them."""
        header = self.headers_of(folder)
        write_if_new(header, HEADERS)
        precompiled = header.with_name(f"{HEADER}.gch")
        python = Path(sysconfig.get_path("include"), "patchlevel.h")
        if DEBUG or not python.exists():
            precompiled.unlink(missing_ok=True)
            return
        made_of = [header, CORE / "simd.h", python, Path(__file__)]
        newest = max(path.stat().st_mtime for path in made_of)
        if precompiled.exists() and precompiled.stat().st_mtime > newest:
            return
        folders = [*module.include_dirs, *self.compiler.include_dirs]
        macros = [f"-D{name}={value}" for name, value in module.define_macros]
        command = [*self.compiler.compiler_so, *macros, *(f"-I{path}" for path in folders)]
        command += [*module.extra_compile_args, "-x", "c-header", str(header)]
        if subprocess.run([*command, "-o", str(precompiled)], check=False).returncode:
            print("headers can't be precompiled here: kernels take longer to compile")


# Processes that translate may start by reading this file.
if __name__ == "__main__":
    setup(ext_modules=all_extensions(), cmdclass={"build_ext": ParallelBuild})
