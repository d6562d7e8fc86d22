#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# configure: what is wrong or missing is said in one clear line; what is built
# is summed up at the end.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
for tool in meson ninja pkg-config; do
    command -v $tool > /dev/null || skip_all "no $tool"
done
CONFIGURE=$here/../../configure
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1

# configure_in ENVIRONMENT... -- OPTION...: in a new folder; sets $rc.
configure_in()
{
    rm -rf "$work/b"
    mkdir "$work/b"
    cd "$work/b" || exit 1
    $LIMIT env "$@" > "$work/log" 2>&1
    rc=$?
    cd "$work" || exit 1
}

# refused WHAT TEXT VARIABLE=... OPTION...
refused()
{
    what=$1
    text=$2
    shift 2
    configure_in "$@"
    if [ $rc -ne 0 ] && [ "$(grep -c -- "$text" log)" -eq 1 ] &&
        ! grep -q Traceback log; then
        pass
    else
        fail "$what: exit status $rc, expected one line '$text'" log
    fi
}

# summed_up WHAT TEXT VARIABLE=... OPTION...: a line of the summary.
summed_up()
{
    what=$1
    text=$2
    shift 2
    configure_in "$@"
    if [ $rc -eq 0 ] && grep -q -- "$text" log; then
        pass
    else
        fail "$what: exit status $rc, expected '$text'" log
    fi
}

# A compiler that lacks the header $hidden.
real_cc=$(command -v cc) || skip_all 'no cc'
cat > cc << CC
#!/bin/sh
for arg in "\$@"; do
    case \$arg in
    *.c)
        if grep -q "\$hidden" "\$arg" 2> /dev/null; then
            echo "fatal error: \$hidden: No such file or directory" >&2
            exit 1
        fi
    esac
done
exec $real_cc "\$@"
CC
chmod +x cc

# Words.
refused 'unknown option' "unknown option '--frobnicate'" \
    "$CONFIGURE" --frobnicate
refused 'a prefix that is missing' '--prefix: its argument is missing' \
    "$CONFIGURE" --prefix
refused 'a prefix that is relative' "'usr' is no absolute path" \
    "$CONFIGURE" --prefix usr
refused 'an unknown switch of coroutines' "asm or ucontext, not 'fast'" \
    "$CONFIGURE" --with-coroutine=fast
refused 'an unknown plant' 'unbounded' "$CONFIGURE" -Dplant=wrong

# Libraries.
mkdir empty
refused 'no glib' 'no glib-2.0.*scripts/install-deps' \
    PKG_CONFIG_LIBDIR="$work/empty" "$CONFIGURE"
summed_up 'no liburing wanted' 'io_uring (aio=io_uring) *: NO' \
    "$CONFIGURE" --disable-linux-io-uring
refused 'no libaio' 'no libaio.*scripts/install-deps.*--disable-linux-aio' \
    hidden=libaio.h "$CONFIGURE" --cc="$work/cc"
summed_up 'no libaio, and none wanted' 'Linux AIO (aio=native) *: NO' \
    hidden=libaio.h "$CONFIGURE" --cc="$work/cc" --disable-linux-aio
summed_up 'everything, and a prefix' "installed as *: $work/empty/bin/qemu-img" \
    "$CONFIGURE" --prefix "$work/empty"
if grep -q 'Linux AIO (aio=native) *: YES' log; then
    pass
else
    fail 'no line about Linux AIO' log
fi
summary
