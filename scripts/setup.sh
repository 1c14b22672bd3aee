#!/usr/bin/env bash
# Make .venv with everything that uv.lock names. Brings uv into .tools if the machine has none. No root needed.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "setup: $*" >&2; exit 1; }

python=""
for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || die "no Python 3.11 or newer found; install one (Debian: apt-get install python3) or set PYTHON"

if command -v uv >/dev/null 2>&1; then
    uv=uv
else
    uv=.tools/bin/uv
    if [ ! -x "$uv" ]; then
        echo "setup: bringing uv into .tools" >&2
        "$python" -m venv .tools 2>/dev/null ||
            die "python has no venv module; install it (Debian: apt-get install python3-venv)"
        .tools/bin/python -m pip install --quiet --disable-pip-version-check uv ||
            die "pip could not install uv; is a package registry reachable?"
    fi
fi

index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}
[ -n "$index" ] && export UV_DEFAULT_INDEX="$index"
export UV_PYTHON_DOWNLOADS=never
"$uv" sync --quiet --frozen --python "$(command -v "$python")"
touch .venv/ready
