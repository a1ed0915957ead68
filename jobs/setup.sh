#!/usr/bin/env bash
# Debian packages that set-up needs: installed when root and missing, otherwise named.
#   jobs/setup.sh system|test
set -euo pipefail

missing=()
need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}
need_package() { # need_package FILE-GLOB PACKAGE
  compgen -G "$1" >/dev/null || missing+=("$2")
}

python="${PYTHON:-python3}"
case "${1:-system}" in
  system)
    need java openjdk-17-jre-headless
    need ffmpeg ffmpeg
    need_package '/usr/share/fonts/truetype/droid/DroidSansFallback*' fonts-droid-fallback
    need_package '/usr/lib/*/libGL.so.1' libgl1
    "$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    ;;
  test)
    need javac openjdk-17-jdk-headless
    ;;
  *)
    echo "usage: jobs/setup.sh system|test" >&2
    exit 2
    ;;
esac

[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  # The font only makes Chinese text visible in pictures of pages: nobody is stopped for it.
  [ "${missing[*]}" = fonts-droid-fallback ] && exit 0
  echo "make: missing on this machine: run  sudo apt-get install ${missing[*]}  and try again" >&2
  exit 1
fi
echo "installing ${missing[*]} …" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
