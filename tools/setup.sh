#!/bin/sh
# Makes a machine ready to build: compiler, libraries, Python's headers, a virtual environment in $VENV.
# Installs with apt what is missing, if it may; otherwise says what to install. Changes nothing where nothing is missing.
set -eu

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
missing=

say() { printf '%s\n' "$*" >&2; }
stop() { printf '%s\n' "$@" >&2; exit 1; }
need() { missing="$missing $1"; }

# Stops if the interpreter is older than what the package supports; nothing is installed for it then.
check_version() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        stop "nori_lsm needs CPython 3.10 or later; $PYTHON is $("$PYTHON" -c 'import platform; print(platform.python_implementation() + " " + platform.python_version())')." \
             "Name another one: make PYTHON=/path/to/python3"
    "$PYTHON" -c 'import sys; sys.exit(sys.implementation.name != "cpython")' ||
        stop "nori_lsm needs CPython; $PYTHON is $("$PYTHON" -c 'import platform; print(platform.python_implementation())')."
}

# The interpreter's own headers and venv, wherever it comes from.
has_headers() {
    "$PYTHON" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'
}
has_venv() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }

# Name of the interpreter's apt packages: python3, or python3.12 for one beside the system's.
python_package() {
    case $("$PYTHON" -c 'import os, sys; print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))') in
    "$(realpath /usr/bin/python3 2>/dev/null)") echo python3 ;;
    /usr/bin/python3.*) "$PYTHON" -c 'import sys; print("python%d.%d" % sys.version_info[:2])' ;;
    *) echo none ;;
    esac
}

can_compile() { echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null 2>/dev/null; }

find_missing() {
    missing=
    can_compile || need build-essential
    command -v pkg-config >/dev/null || need pkg-config
    for library in liblz4 libxxhash libzstd; do
        pkg-config --exists "$library" 2>/dev/null || need "$library-dev"
    done
    if ! command -v "$PYTHON" >/dev/null; then
        [ "$PYTHON" = python3 ] || stop "There is no $PYTHON."
        need python3; need python3-venv; need python3-dev
        return
    fi
    check_version
    if ! has_headers || ! has_venv; then
        package=$(python_package)
        [ "$package" != none ] || stop "$PYTHON lacks Python.h or the modules venv and ensurepip; install them for it."
        has_headers || need "$package-dev"
        has_venv || need "$package-venv"
    fi
}

install_missing() {
    command -v apt-get >/dev/null ||
        stop "Missing, by the names of their Debian packages:$missing" "Install them and run make again."
    if [ "$(id -u)" = 0 ]; then
        sudo=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo="sudo -n"
    else
        stop "Missing:$missing" "Install them and run make again:" "    sudo apt install$missing"
    fi
    say "Installing$missing"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2
}

# A virtual environment that is whole, and of this interpreter's version.
make_environment() {
    version='import sys; print(sys.version)'
    if "$VENV/bin/python" -m pip --version >/dev/null 2>&1 &&
        [ "$("$VENV/bin/python" -c "$version")" = "$("$PYTHON" -c "$version")" ]; then
        return
    fi
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
}

find_missing
if [ -n "$missing" ]; then
    install_missing
    find_missing
    [ -z "$missing" ] || stop "Still missing after the installation:$missing"
fi
make_environment
