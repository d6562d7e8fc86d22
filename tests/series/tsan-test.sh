#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The unit tests of the series under ThreadSanitizer, with what each form makes
# of trees of QEMU's shape; and the full form's engine with a kernel that has a
# thread of its own, where a planted bug must be found.  The small forms leave
# the reading of the ring as it is in QEMU, so they have no such test.
#
# SERIES_PAIRS: forms and shapes to try beyond the fixed one, as the first line
# names them, or "all"; by default one, another one in each run.
# BUILD_DIR: as in series.rc, but a build with --enable-tsan.
# Ends with "N passed, N failed, N skipped"; 77 if nothing can be run.

CC=clang
series_cflags='-g -fsanitize=thread -Wno-error=unused-command-line-argument'
series_setup='-Db_sanitize=thread -Db_lundef=false'
if ! echo 'int main(void) { return 0; }' |
    "$CC" -fsanitize=thread -x c - -o /dev/null 2> /dev/null
then
    echo 'SKIP: no clang with ThreadSanitizer here'
    exit 77
fi
# Not the build without ThreadSanitizer of those who run all tests.
top=$(cd "$(dirname "$0")/../.." && pwd)
BUILD_DIR=${TSAN_BUILD_DIR:-$top/build-tsan}
export CC TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
# shellcheck source=/dev/null
. "$top/tests/series/series.rc"
if [ $can_build = no ]; then
    echo "SKIP: $why"
    exit 77
fi

# The tests of folder $1 pass with both event loops.
run_tests()
{
    local test look

    for test in "$1"/tests/unit/test-linux-aio-*.c; do
        build_tree "$1" "$test" "$1/test" || return 1
        for look in never default; do
            AIO_NONBLOCKING_LOOK=$look timeout -k 5 120 "$1/test" || return 1
        done
    done
}

# Folder $1 with a kernel that has a thread of its own.
run_kthread()
{
    local series_cflags="$series_cflags -I $src/tests/unit/laio-hooks"

    build_tree "$1" "$src/tests/unit/test-linux-aio-kthread.c" "$1/kthread" &&
        timeout -k 5 120 "$1/kthread"
}

# The same, with plant $2: ThreadSanitizer must say so.
finds()
{
    python3 "$src/scripts/plant.py" "$src/tests/plants/$2.plant" \
        "$src/block/linux-aio.c" "$1/block/linux-aio.c" || return 1
    ! run_kthread "$1" > planted.log 2>&1 &&
        grep -q 'WARNING: ThreadSanitizer: data race' planted.log
}

# try FORM SHAPE
try()
{
    local name=$1-$2 options=() tree=$work/$1-$2 made=$work/made

    if [ "$1" != full ]; then
        options=("--$1")
        if ! command -v spatch > /dev/null; then
            skip "$name" 'no spatch: install coccinelle'
            return
        fi
    fi
    make_tree "$tree" "$2"
    check "$name: apply" "$tool" "${options[@]}" "$tree"
    check_out "$tree" laio-sync-recursion "$made"
    check "$name: unit tests" run_tests "$made"
    if [ "$1" = full ]; then
        check "$name: a kernel with a thread" run_kthread "$made"
    fi
    if [ "$name" = full-11.1 ]; then
        check "$name: a wrong barrier is found" finds "$made" tail-relaxed
        check "$name: another one is found" finds "$made" head-relaxed
    fi
    rm -rf "$tree" "$made"
}

others='full:10.0.12 full:10.1'
for shape in "${!version[@]}"; do
    # Both small forms give the same.
    others+=" minimal:$shape"
done
case ${SERIES_PAIRS-one} in
one) pairs=$(tr ' ' '\n' <<< "$others" | shuf -n 1) ;;
all) pairs=$others ;;
*) pairs=$SERIES_PAIRS ;;
esac
echo "SERIES_PAIRS='$pairs'"
for pair in full:11.1 $pairs; do
    try "${pair%:*}" "${pair#*:}"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
