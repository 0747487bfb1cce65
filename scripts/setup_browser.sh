#!/usr/bin/env bash
# Install what the test of the HTML report needs: headless Chromium and its WebDriver. Does nothing where both are there.
#
# Debian: installs with apt-get, through sudo when not root. Elsewhere: says what to install; the test then skips.
set -euo pipefail

packages="chromium chromium-driver"

has() { command -v "$1" >/dev/null 2>&1; }

# Prints the names of the programs that are missing.
missing() {
  has chromium || has chromium-browser || has google-chrome || echo chromium
  has chromedriver || echo chromedriver
}

# Ends the script. Nothing but one test needs a browser, and it says itself that it skips.
finish() { # ADVICE
  echo "setup_browser: missing: $(missing | xargs). $1" >&2
  echo "setup_browser: going on without" >&2
  exit 0
}

[ -n "$(missing)" ] || exit 0

has apt-get || finish "Install Chromium and the chromedriver of the same version."

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  has sudo || finish "As root, run: apt-get install $packages"
  as_root=sudo
fi

install() {
  # shellcheck disable=SC2086  # both variables are lists of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages </dev/null >&2
}

echo "setup_browser: missing: $(missing | xargs); installing with apt-get" >&2
# Package lists may be absent or old; they are fetched only if the first try fails.
install || { $as_root apt-get update -q </dev/null >&2 && install; } || finish "apt-get could not install: $packages"
[ -z "$(missing)" ] || finish "apt-get ran, but these are not found."
