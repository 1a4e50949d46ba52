#!/usr/bin/env bash
# Brings the suite to life: on your own machine (install, demo, test) or inside a Colab runtime (colab).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
VENV="$ROOT/.venv"
REQUIREMENTS="$ROOT/requirements.txt"
MORE_REQUIREMENTS="$ROOT/requirements-serve.txt"
STAMP="$VENV/requirements.stamp"
TORCH_CPU="2.13.0+cpu" # asked for first on a machine without an NVIDIA GPU
TORCH_RANGE="torch>=2.9,<3"
# Colab's own builds: moving one of them breaks its kernel, its widgets or its GPU
PROTECTED="torch numpy ipywidgets ipykernel ipython jupyter"
TESTS_ONLY="playwright httpx schemathesis" # of no use on Colab

usage() {
    cat <<'TEXT'
bash colab_setup.sh COMMAND

  demo [--soundfont FILE.sf2] [...]  install, then run notebooks 00 to 06 with preset demo: a solo in outputs/demo
                                     (further words go to: python -m lib headless)
  test [...]                         install, then run the test suite (further words go to pytest)
  install                            make .venv and install what the suite needs, nothing else
  colab [VERSION]                    inside a Colab runtime: take a branch, tag or commit, add what is missing,
                                     touch nothing that Colab needs
  address OWNER/NAME                 your fork on GitHub: badges, notebooks, documents and citation name it from now on

PYTHON=/path/to/python3.12 chooses the interpreter (3.11 to 3.13).
TEXT
}

say() { printf '%s\n' "== $*"; }

fail() {
    printf '%s\n' "colab_setup.sh: $*" >&2
    exit 1
}

# --- Python and its packages ---------------------------------------------------------------------------------

runs_and_fits() { # an interpreter that starts and is 3.11 to 3.13 (a pyenv shim may exist and not start)
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        runs_and_fits "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13 that starts."
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in "$VENV/bin/python" python3.11 python3.12 python3.13 python3 python; do
        if runs_and_fits "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "needs Python 3.11, 3.12 or 3.13 and found none. Install one, or set PYTHON=/path/to/python3.12."
}

version_of() { "$1" -c 'import platform; print(platform.python_version())'; }

as_root() { # apt only where nobody has to type a password
    if [[ "$(id -u)" == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

apt_install() {
    command -v apt-get >/dev/null || return 1
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null 2>&1 && return 0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null 2>&1
}

make_venv() {
    local python="$1" short
    if "$VENV/bin/python" -m pip --version >/dev/null 2>&1 &&
        [[ "$(version_of "$VENV/bin/python")" == "$(version_of "$python")" ]]; then
        return
    fi
    say "making .venv with Python $(version_of "$python")"
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        short="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
        apt_install "python$short-venv" || fail "this Python can't make a venv. Run: sudo apt install python$short-venv"
    fi
    "$python" -m venv --clear "$VENV" || fail "could not make $VENV with $python."
}

wanted_stamp() { # what the venv was made from: any change installs again
    cat "$REQUIREMENTS" "$MORE_REQUIREMENTS" - <<<"$(version_of "$1") $(has_nvidia && echo gpu || echo cpu)" |
        "$1" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

has_nvidia() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }

install_cpu_torch() { # never the build that brings gigabytes of CUDA to a machine without a GPU
    local python="$1"
    "$python" -c 'import torch' 2>/dev/null && return
    say "installing the CPU build of torch"
    "$python" -m pip install -qq --disable-pip-version-check "torch==$TORCH_CPU" 2>/dev/null && return
    say "pip's index has no CPU build: asking uv, which knows PyTorch's own index"
    "$python" -m pip install -qq --disable-pip-version-check uv &&
        "$python" -m uv pip install -qq --python "$python" --torch-backend cpu "$TORCH_RANGE" && return
    fail "could not install a CPU build of torch. Install one into .venv by hand (PyTorch's site, 'Get started', CPU)," \
        "then run this command again. The CUDA build from PyPI is not taken: it is several gigabytes."
}

install_requirements() {
    local python="$VENV/bin/python" stamp
    stamp="$(wanted_stamp "$python")"
    if [[ -f "$STAMP" && "$(cat "$STAMP")" == "$stamp" ]]; then
        return
    fi
    if [[ "$(uname -s)" == Linux ]] && ! has_nvidia; then
        install_cpu_torch "$python"
    fi
    say "installing requirements.txt (some minutes the first time)"
    "$python" -m pip install -qq --disable-pip-version-check -r "$REQUIREMENTS" ||
        fail "pip could not install requirements.txt: its message is above."
    "$python" -m pip install -qq --disable-pip-version-check -r "$MORE_REQUIREMENTS" ||
        fail "pip could not install requirements-serve.txt: its message is above."
    printf '%s\n' "$stamp" >"$STAMP"
}

install_sound() {
    local python="$1"
    if "$python" -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("fluidsynth"))'; then
        return
    fi
    apt_install libfluidsynth3 || say "libfluidsynth is not installed: sound falls back to plain sine waves"
}

install_browser() { # for the tests of pages
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
        apt_install chromium || say "there is no Chromium: the tests that need a browser are skipped"
}

install() {
    local python
    python="$(find_python)"
    make_venv "$python"
    install_requirements
    install_sound "$VENV/bin/python"
}

# --- Commands ------------------------------------------------------------------------------------------------

demo() {
    local words=() start=$SECONDS
    while (($#)); do
        if [[ "$1" == --soundfont ]]; then
            (($# >= 2)) || fail "--soundfont wants a file."
            [[ -f "$2" ]] || fail "--soundfont: there is no file $2."
            words+=(--set "06_listen.soundfont=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")")
            shift 2
        else
            words+=("$1")
            shift
        fi
    done
    install
    say "installed ($((SECONDS - start)) s); now notebooks 00 to 06"
    cd "$ROOT"
    "$VENV/bin/python" -m lib headless --preset demo --notebooks 00-06 --runs-dir runs/demo \
        --output-dir outputs/demo ${words[@]+"${words[@]}"}
}

run_tests() {
    install
    install_browser
    cd "$ROOT"
    "$VENV/bin/python" -m pytest "$@"
}

colab_requirements() { # all that is required, without what must not be touched, or is not needed
    grep -h -v -i -E "^($(tr ' ' '|' <<<"$PROTECTED $TESTS_ONLY"))[^a-z0-9_-]" "$REQUIREMENTS" "$MORE_REQUIREMENTS"
}

colab_pins() { # name==version of each protected package that is installed
    "$1" - "$PROTECTED" <<'PY'
import sys
from importlib.metadata import PackageNotFoundError, version

for name in sys.argv[1].split():
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        pass
PY
}

take_version() { # a branch, tag or commit of the repository; where it is not there, what was cloned stays
    local version="$1" branch
    branch="$(git -C "$ROOT" rev-parse --abbrev-ref HEAD 2>/dev/null)" || return 0 # unpacked from a zip
    [[ "$branch" == "$version" || "$branch" == "version-$version" ]] && return
    if git -C "$ROOT" fetch -q --depth 1 origin "$version" 2>/dev/null &&
        git -C "$ROOT" checkout -q -B "version-$version" FETCH_HEAD; then
        exec bash "$ROOT/colab_setup.sh" colab
    fi
    say "the repository has no $version: its branch $branch is taken"
}

colab() {
    local python="${PYTHON:-python3}" folder before after
    [[ -z "${1:-}" ]] || take_version "$1"
    runs_and_fits "$python" || fail "colab: $python is not Python 3.11, 3.12 or 3.13."
    folder="$(mktemp -d)"
    before="$(colab_pins "$python")"
    colab_requirements >"$folder/requirements.txt"
    printf '%s\n' "$before" >"$folder/pins.txt"
    "$python" -m pip install -qq --disable-pip-version-check -r "$folder/requirements.txt" -c "$folder/pins.txt" ||
        fail "colab: pip could not add what is missing without moving one of: $PROTECTED."
    rm -r "$folder"
    after="$(colab_pins "$python")"
    [[ "$before" == "$after" ]] || fail "colab: a protected package moved. Before: $before. After: $after."
    install_sound "$python"
    say "ready; unchanged: $(tr '\n' ' ' <<<"$after")"
}

address() { # neither the folder on Drive nor the mirror's marker has it in its name
    [[ "${1:-}" =~ ^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$ ]] || fail "address wants OWNER/NAME, as on GitHub; got '${1:-}'."
    "$(find_python)" - "$ROOT" "$1" <<'PY'
import re
import sys
from pathlib import Path

root, new = Path(sys.argv[1]), sys.argv[2]
old = re.search(r'^REPOSITORY = "https://github\.com/([^"]+)"', (root / "lib/config.py").read_text(encoding="utf-8"), re.M)[1]
named = re.compile(rf"(github\.com/|colab\.research\.google\.com/github/){re.escape(old)}(?![\w.-]*\w)")
patterns = ("*.md", "CITATION.cff", "docs/**/*", "notebooks/*.ipynb", "lib/config.py", "data/*.md", "data/released/*.md")
for path in sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()}):
    if path.suffix in (".md", ".cff", ".ipynb", ".py", ".yaml", ".html"):
        text = path.read_bytes()
        changed, count = named.subn(rf"\g<1>{new}", text.decode())
        if count:
            path.write_bytes(changed.encode())
            print(f"{path.relative_to(root)}: {count}")
PY
    say "the address is https://github.com/$1 now"
}

main() {
    local command="${1:-}"
    shift || true
    case "$command" in
    demo) demo "$@" ;;
    test) run_tests "$@" ;;
    install) install ;;
    colab) colab "$@" ;;
    address) address "$@" ;;
    -h | --help | help) usage ;;
    "")
        usage
        exit 2
        ;;
    *)
        printf '%s\n\n' "colab_setup.sh: unknown command '$command'." >&2
        usage >&2
        exit 2
        ;;
    esac
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
    main "$@"
fi
