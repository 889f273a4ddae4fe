# What the scripts share: set-up of what they need, and how they speak. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' green='' red='' plain=''
fi

headline() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
fail() { printf '%serror%s: %s\n' "$red" "$plain" "$*" >&2; exit 2; }

# The toolchain that rust-toolchain.toml names, or how to get it.
need_toolchain() {
  local channel
  channel=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$root/rust-toolchain.toml")
  if ! command -v cargo >/dev/null; then
    # A fresh rustup is not on the PATH of shells that were open before.
    [[ -x $HOME/.cargo/bin/cargo ]] && export PATH="$HOME/.cargo/bin:$PATH"
  fi
  if ! command -v cargo >/dev/null; then
    cat >&2 <<MESSAGE
${red}error${plain}: there is no cargo. viaduct is built with Rust $channel:

  1. install rustup (https://rustup.rs), or the package \`rustup\` of your distribution
  2. rustup toolchain install $channel --profile minimal --component rustfmt --component clippy
  3. run this script again
MESSAGE
    exit 2
  fi
  if ! (cd "$root" && cargo --version >/dev/null 2>&1); then
    fail "Rust $channel is not installed: rustup toolchain install $channel --profile minimal --component rustfmt --component clippy"
  fi
}

# need_programs PROGRAM=PACKAGE...: installs the Debian packages of programs that are missing, if
# that is allowed. Returns 1, having said so, if some stay missing.
need_programs() {
  local missing=() names=() pair
  for pair in "$@"; do
    if ! PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%=*}" >/dev/null; then
      names+=("${pair%%=*}")
      missing+=("${pair#*=}")
    fi
  done
  ((${#missing[@]})) || return 0
  if ((EUID == 0)) && command -v apt-get >/dev/null; then
    note "installing ${missing[*]}"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
    if "${install[@]}" "${missing[@]}" >/dev/null 2>&1 ||
      { apt-get update -q >/dev/null 2>&1 && "${install[@]}" "${missing[@]}" >/dev/null 2>&1; }; then
      return 0
    fi
  fi
  note "not installed, and cannot be installed here: ${names[*]} (packages: ${missing[*]})"
  return 1
}

# Prints where boto3 and the AWS CLI are, in a virtual environment that is made if need be. Returns 1
# if they cannot be had.
need_aws_clients() {
  local clients=$root/target/aws-clients
  if ! "$clients/bin/python" -c 'import awscli, boto3' 2>/dev/null; then
    need_programs python3=python3 >&2 || return 1
    rm -rf "$clients"
    if ! { python3 -m venv "$clients" &&
      timeout 600 "$clients/bin/pip" install -q --disable-pip-version-check boto3 awscli; } \
      >/dev/null 2>&1; then
      rm -rf "$clients"
      return 1
    fi
  fi
  echo "$clients"
}

# Why labs cannot be made here; nothing if they can.
why_no_labs() {
  if ((EUID != 0)); then
    echo "network namespaces need root; run this as root"
  elif [[ ! -e /dev/net/tun ]]; then
    echo "there is no /dev/net/tun; load the driver (modprobe tun) or give the container the device"
  elif ! (exec 3<>/dev/net/tun) 2>/dev/null; then
    echo "/dev/net/tun cannot be opened; the container needs the device and CAP_NET_ADMIN"
  elif ! unshare --net true 2>/dev/null; then
    echo "network namespaces cannot be made; the container needs CAP_SYS_ADMIN"
  fi
}

# Why a user who is not root can make no labs with `--rootless`; nothing if that can be.
why_no_rootless_labs() {
  if ! (exec 3<>/dev/net/tun) 2>/dev/null; then
    echo "/dev/net/tun is not for you to open (docs/rootless.md says what to change); or run this as root"
  elif ! unshare --user --map-root-user --mount true 2>/dev/null; then
    echo "user namespaces are refused here (docs/rootless.md says what to change); or run this as root"
  fi
}
