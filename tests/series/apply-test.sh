#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# scripts/apply-to-qemu on git repositories that have QEMU's file names and
# contents of the same shape, made here: its forms, and what it refuses.
# Every commit is built, and the unit test run where there is one; and each
# commit of --split brings cases, all of which fail before it.
#
# SERIES_PAIRS: forms and shapes to try beyond the fixed ones, as the first line
# names them, or "all"; by default one, another one in each run.
# Ends with "N passed, N failed, N skipped"; 77 if nothing can be run.

# shellcheck source=/dev/null
. "$(dirname "$0")/series.rc"

# All that must not change when something is refused.
state()
{
    git -C "$1" for-each-ref
    git -C "$1" symbolic-ref -q HEAD
    git -C "$1" rev-parse HEAD
    git -C "$1" config --local --list
    git -C "$1" status --porcelain --ignored
    (cd "$1" && find . -path ./.git -prune -o -type f -print0 | sort -z |
        xargs -0 sha256sum)
}

# refused NAME TREE REGEX ARGUMENT...: one line, status 1, nothing changed.
refused()
{
    local name=$1 tree=$2 regex=$3 rc

    shift 3
    state "$tree" > before
    "${as_user[@]}" "$tool" "$@" "$tree" > log 2>&1
    rc=$?
    state "$tree" > after
    if [ $rc -eq 1 ] && [ "$(wc -l < log)" -eq 1 ] &&
       grep -q -E "^apply-to-qemu: .*$regex" log && cmp before after >> log
    then
        pass "$name"
    else
        echo "status $rc, wanted '$regex'" >> log
        fail "$name"
    fi
}
as_user=()

# Commit $2 of tree $1, in folder $3: it builds, also with the restricted
# headers, and what tests it has pass.
one_commit()
{
    local test made=$3

    check_out "$1" "$2" "$made"
    restricted "$made" || return 1
    if [ ! -f "$made/tests/unit/test-linux-aio-recursion.c" ]; then
        echo 'int main(void) { return 0; }' > "$made/none.c"
        build_tree "$made" "$made/none.c" "$made/none"
        return
    fi
    for test in "$made"/tests/unit/test-linux-aio-*.c; do
        build_tree "$made" "$test" "$made/test" || return 1
        timeout -k 5 120 "$made/test" || return 1
    done
}

# Each commit of branch $2 of tree $1 builds and passes on its own.  Two at a
# time; not those that touch nothing which is built here.
each_commit()
{
    local commit pid files n=0 bad=0
    local pids=()

    for commit in $(git -C "$1" rev-list --reverse "master..$2"); do
        files=$(git -C "$1" diff --name-only "$commit^" "$commit")
        case $files in
        *.c*|*.h*) ;;
        *) continue ;;
        esac
        n=$((n + 1))
        one_commit "$1" "$commit" "$work/made-$n" > "made-$n.log" 2>&1 &
        pids+=($!)
        if [ ${#pids[@]} -eq 2 ]; then
            wait "${pids[0]}" || bad=1
            pids=("${pids[1]}")
        fi
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || bad=1
    done
    if [ $bad -ne 0 ]; then
        cat made-*.log
    fi
    rm -rf made-*
    [ $bad -eq 0 ] && [ $n -ge 2 ]
}

cases_in()
{
    grep -o '"/linux-aio/[^"]*"' "$1" | tr -d '"' | grep -v /skip | sort
}

# The cases that commit $2 of tree $1 brings must fail on the engine before it.
new_cases()
{
    local made=$work/before-step case i bad=0
    local cases=() pids=()

    check_out "$1" "$2^" "$made"
    git -C "$1" show "$2:tests/unit/test-linux-aio-recursion.c" \
        > "$made/new.c"
    build_tree "$made" "$made/new.c" "$made/new" || return 1
    cases_in "$made/tests/unit/test-linux-aio-recursion.c" > "$made/old.list"
    cases_in "$made/new.c" > "$made/new.list"
    for case in $(comm -13 "$made/old.list" "$made/new.list"); do
        # A crash, or a hang that is cut off.
        (timeout -s KILL 3 "$made/new" -p "$case") > /dev/null 2>&1 &
        cases+=("$case")
        pids+=($!)
    done
    for i in "${!pids[@]}"; do
        if wait "${pids[i]}" 2> /dev/null; then
            echo "${cases[i]} passes before its step"
            bad=1
        fi
    done
    rm -rf "$made"
    echo "new, and fail before: ${cases[*]}"
    [ $bad -eq 0 ] && [ ${#cases[@]} -ge 1 ]
}

# The cases that guard what was right in shape $1, as the head of the unit test
# lists them, sorted.
guards_of()
{
    local has=" ${features[$1]} " words='everywhere'

    case $has in
    *' bound '*) words+='|released' ;;
    *) words+='|unbounded' ;;
    esac
    case $has in
    *' tails bound '*) words+='|tails' ;;
    *' tails '*) words+='|tails|tails and unbounded' ;;
    esac
    sed -n -E "s#^ \\*   ($words)  +([a-z].*/.*)#\\2#p" \
        "$src/series/test-linux-aio-minimal.c" | tr -d ' ' | tr ',' '\n' |
        sed 's#^#/linux-aio/#' | sort
}

# Each step of --split on branch $2 of tree $1, of shape $3, brings cases, all of
# which need it.  The first commit has those that guard what was right.
each_step()
{
    local commit first n=0

    first=$(git -C "$1" rev-list --reverse "master..$2" | head -n 1)
    git -C "$1" show "$first:tests/unit/test-linux-aio-recursion.c" > first.c
    diff <(guards_of "$3") <(cases_in first.c) || return 1
    for commit in $(git -C "$1" rev-list --reverse "master..$2" \
                        -- block/linux-aio.c); do
        git -C "$1" log -1 --format=%s "$commit"
        new_cases "$1" "$commit" || return 1
        [ "$(git -C "$1" diff --numstat "$commit^" "$commit" -- \
            block/linux-aio.c | cut -f1)" -le 60 ] || return 1
        n=$((n + 1))
    done
    [ $n -ge 4 ]
}

# The cases of the unit tests of folder $1 that pass.
passing_cases()
{
    local test case

    for test in "$1"/tests/unit/test-linux-aio-*.c; do
        build_tree "$1" "$test" "$1/test" > "$1/log" 2>&1 || cat "$1/log" >&2
        for case in $("$1/test" -l | grep '^/'); do
            # A crash, or a hang that is cut off.
            (timeout -s KILL 8 "$1/test" -p "$case" > /dev/null 2>&1 &&
                echo "$case") 2> /dev/null &
        done
        wait
    done | sort
}

# Each step of the full form's engine on branch $2 of tree $1 makes cases pass
# that did not, and takes none away; after the last one all pass.
each_engine_step()
{
    local commit made=$work/step commits

    commits=$(git -C "$1" rev-list "master..$2" -- block/linux-aio.c |
        head -n 5 | tac)
    : > passing
    for commit in $commits; do
        check_out "$1" "$commit" "$made"
        git -C "$1" archive "$2" tests/unit | tar -x -C "$made"
        passing_cases "$made" > now
        git -C "$1" log -1 --format=%s "$commit"
        comm -13 passing now
        if [ -n "$(comm -23 passing now)" ]; then
            comm -23 passing now | sed "s/$/ does not pass any more/"
            return 1
        fi
        [ -n "$(comm -13 passing now)" ] || return 1
        mv now passing
    done
    for test in "$made"/tests/unit/test-linux-aio-*.c; do
        cases_in "$test"
    done | sort > all
    # Cases that are made in a loop are not in the list.
    [ -z "$(comm -23 all passing)" ]
}

# --- one form ---

# Subjects, identity, Fixes lines with subjects of each commit.
check_messages()
{
    local commit message

    for commit in $(git -C "$1" rev-list "master..$2"); do
        message=$(git -C "$1" log -1 --format=%B "$commit")
        grep -q -x 'Signed-off-by: A User <user@example.org>' \
            <<< "$message" || return 1
        grep -q -E 'SPDX|@if|@endif|@blame' <<< "$message" && return 1
        # checkpatch.pl's own limit
        awk 'length > 79 { exit 1 }' <<< "$message" || return 1
    done
    for commit in $(git -C "$1" rev-list "master..$2" -- block/linux-aio.c)
    do
        git -C "$1" log -1 --format=%B "$commit" |
            grep -q -E '^Fixes: |no fault of the engine before' || return 1
    done
    git -C "$1" log --format=%s "master..$2"
    [ "$(git -C "$1" rev-list --count "master..$2")" = "$3" ]
}

edits_fit()
{
    git -C "$1" diff master "$2" -- tests/unit/meson.build MAINTAINERS \
        > diff || return 1
    cat diff
    [ "$(grep -c '^-[^-]' diff)" = 0 ] || return 1
    grep -q "^+    'test-linux-aio-recursion': \[testblock\],$" diff &&
        grep -q '^+F: tests/unit/test-linux-aio-recursion.c$' diff &&
        ! grep -q '^+F: tests/qemu-iotests' diff &&
        [ "$(git -C "$1" ls-tree "$2" \
            tests/qemu-iotests/tests/laio-sync-recursion | cut -c1-6)" \
            = 100755 ]
}

same_tree()
{
    [ -n "$(git -C "$1" rev-parse "$2^{tree}")" ] &&
        [ "$(git -C "$1" rev-parse "$2^{tree}")" \
            = "$(git -C "$1" rev-parse "$3^{tree}")" ]
}

# form NAME TREE COMMITS OPTION...
form()
{
    local name=$1 tree=$2 commits=$3 b=laio-sync-recursion
    local out=$work/$1-patches

    shift 3
    state "$tree" > start
    check "$name: dry run" "$tool" --dry-run "$@" "$tree"
    state "$tree" > after
    check "$name: dry run changes nothing" cmp start after
    check "$name: dry run leaves no object behind" \
        test -z "$(git -C "$tree" fsck --unreachable 2> /dev/null)"
    check "$name: patches" "$tool" --format-patch "$out" "$@" "$tree"
    check "$name: style of the patches" "$src/scripts/check-patches" "$out"
    state "$tree" > after
    check "$name: patches change nothing" cmp start after
    refused "$name: patches again" "$tree" 'not an empty directory' \
        --format-patch "$out" "$@"

    check "$name: apply" "$tool" "$@" "$tree"
    check "$name: on the branch" \
        test "$(git -C "$tree" symbolic-ref --short HEAD)" = $b
    check "$name: clean" test -z "$(git -C "$tree" status --porcelain)"
    check "$name: messages" check_messages "$tree" $b "$commits"
    check "$name: edits" edits_fit "$tree" $b
    refused "$name: apply again" "$tree" 'already patched' "$@"
    git -C "$tree" checkout -q master
    refused "$name: branch exists" "$tree" "branch '$b' already" "$@"

    git -C "$tree" checkout -q -b by-am master
    check "$name: git am" git -C "$tree" am -q "$out"/*.patch
    check "$name: git am gives the same tree" same_tree "$tree" by-am $b
    git -C "$tree" checkout -q $b
    git -C "$tree" branch -q -D by-am

    if [ $can_build = yes ]; then
        check "$name: each commit builds and passes" each_commit "$tree" $b
        case " $* " in
        *' --split '*)
            check "$name: each step has cases of its own" \
                each_step "$tree" $b "${name#split-}"
            ;;
        esac
        case $name in
        full-11.1)
            # Crashes and hangs take their time: not each day.
            if [ "${SERIES_PAIRS-one}" != one ] ||
               [ $(($(date +%s) / 86400 % 4)) -eq 0 ]; then
                check "$name: each step of the engine brings cases" \
                    each_engine_step "$tree" $b
            fi
            ;;
        esac
    else
        skip "$name: each commit builds and passes" "$why"
    fi

    git -C "$tree" commit -q --allow-empty -m 'work on top'
    refused "$name: revert with other commits" "$tree" 'not of the series' \
        --revert
    git -C "$tree" reset -q --hard HEAD^
    check "$name: revert" "$tool" --revert "$tree"
    state "$tree" > after
    check "$name: revert gives what was there" cmp start after
    refused "$name: revert again" "$tree" 'there is no branch' --revert
}

# How many commits a form has on a shape.
commits_of()
{
    local steps=4

    case $1 in
    full) echo 13; return ;;
    minimal) echo 4; return ;;
    esac
    case " ${features[$2]} " in
    *' fdsync '*) steps=$((steps + 1)) ;;
    esac
    case " ${features[$2]} " in
    *' tails '*) steps=$((steps + 1)) ;;
    esac
    case " ${features[$2]} " in
    *' bound '*) steps=$((steps + 1)) ;;
    esac
    echo $((steps + 3))
}

# try FORM SHAPE
try()
{
    local name=$1-$2 options=()

    if [ "$1" != full ]; then
        options=("--$1")
        if ! command -v spatch > /dev/null; then
            skip "$name" 'no spatch: install coccinelle'
            return
        fi
    fi
    make_tree "$work/$name" "$2"
    form "$name" "$work/$name" "$(commits_of "$1" "$2")" "${options[@]}"
}

# --minimal is what --split gives in the end.
same_small_forms()
{
    local tree=$work/small

    make_tree "$tree" "$1"
    "$tool" --minimal --branch one "$tree" || return 1
    git -C "$tree" checkout -q master
    "$tool" --split --branch many "$tree" || return 1
    same_tree "$tree" one many || return 1
    rm -rf "$tree"
}

allow_cached()
{
    local tree=$work/cached

    make_tree "$tree" 11.1
    "$tool" --allow-cached "$tree" || return 1
    git -C "$tree" diff HEAD^ HEAD > diff
    cat diff
    [ "$(git -C "$tree" diff --name-only HEAD^)" = block/file-posix.c ] &&
        [ "$(git -C "$tree" diff --numstat HEAD^ |
            awk '{ print $1, $2 }')" = "0 7" ] &&
        ! grep -q cache.direct "$tree/block/file-posix.c" &&
        $CC -std=gnu11 -Wall -Werror -fsyntax-only -D_GNU_SOURCE \
            $(pkg-config --cflags glib-2.0) -I "$tree/include" \
            -I "$build" "$tree/block/file-posix.c"
}

fixed='full:11.1 split:11.1'
others=
for form in full minimal split; do
    for shape in 8.2 9.2 10.0.10 10.0.12 10.1 10.2.4 11.0 11.1; do
        case " $fixed full:8.2 full:9.2 " in
        *" $form:$shape "*) ;;
        *) others+=" $form:$shape" ;;
        esac
    done
done
case ${SERIES_PAIRS-one} in
one) pairs=$(tr ' ' '\n' <<< "$others" | sed '/^$/d' | shuf -n 1) ;;
all) pairs=$others ;;
*) pairs=$SERIES_PAIRS ;;
esac
echo "SERIES_PAIRS='$pairs'"
for pair in $fixed $pairs; do
    try "${pair%:*}" "${pair#*:}"
done
if command -v spatch > /dev/null; then
    check 'both small forms give the same: 8.2' same_small_forms 8.2
    check 'both small forms give the same: 11.1' same_small_forms 11.1
else
    skip 'both small forms give the same' 'no spatch: install coccinelle'
fi
check 'allow cached' allow_cached

# --- the style of patches ---

# unstyled WORDS SED: the patches, one of them changed, are told of with WORDS.
unstyled()
{
    rm -rf unstyled
    cp -r full-11.1-patches unstyled
    sed -i "$2" unstyled/0005-*.patch
    ! "$src/scripts/check-patches" unstyled &&
        "$src/scripts/check-patches" unstyled |
        grep "^0005-.*:[0-9]*: $1"
}
unstyled_all()
{
    unstyled "subject is not" '/^Subject:/s/block.linux-aio: //' &&
        unstyled 'no subject' '/^Subject:/s/PATCH/RFC/' &&
        unstyled 'is 06/13, not 5/13' '/^Subject:/s#05/13#06/13#' &&
        unstyled 'no text' '/^$/,/^Fixes/{/^$/!{/^Fixes/!d}}' &&
        unstyled 'does not end with Signed-off-by' '/^Signed-off/d' &&
        unstyled 'not "Fixes: commit"' 's/^Fixes: ....../Fixes: /' &&
        unstyled 'an attachment' '1a MIME-Version: 1.0' &&
        unstyled '108 columns, 79' \
            's/^Try again.*/&, and again, and again, and again/' &&
        unstyled 'space at' 's/^+    s->retries = 0;/& /' &&
        unstyled tab 's/^+    s->retries = 0;/+\ts->retries = 0;/' &&
        unstyled 'no braces' 's/^+    s->retries = 0;/+    if (s) s = 0;/' &&
        unstyled '// comment' 's#^+    s->retries = 0;#& // why#' &&
        unstyled 'left over' 's/^Try again/@blame again/' &&
        unstyled '.*has no newline' '$a \\\\ No newline'
}
check 'patches without style are told of' unstyled_all

# --- what it refuses ---

make_tree bad 11.1
bad=$work/bad

# spoil NAME REGEX COMMAND [OPTION...]: commit a change, expect a refusal.
spoil()
{
    local name=$1 regex=$2 command=$3

    shift 3
    (cd "$bad" && eval "$command" && git add -A && git commit -q -m spoilt)
    refused "$name" "$bad" "$regex" "$@"
    git -C "$bad" reset -q --hard HEAD^
}

# A history that has the commits: a tag of that name stands in for one.
git -C "$bad" tag 84d61e5f36
fixes_subject()
{
    "$tool" --format-patch "$work/subjects" "$bad" &&
        [ "$(grep -l -x \
            'Fixes: 84d61e5f36 ("an engine with its faults")' \
            "$work"/subjects/*.patch | wc -l)" = 4 ] &&
        grep -q '0/13' "$work/subjects/0000-cover-letter.txt" &&
        ! grep -q -E '@if|@endif' "$work/subjects/0000-cover-letter.txt"
}
check 'subjects of the commits that are fixed' fixes_subject
git -C "$bad" tag -d 84d61e5f36 > log

echo '/* x */' >> "$bad/block/linux-aio.c"
refused 'dirty tree' "$bad" 'not committed'
git -C "$bad" add -A
refused 'dirty index' "$bad" 'not committed'
refused 'dirty tree, patches' "$bad" 'not committed' --format-patch "$work/p"
git -C "$bad" reset -q --hard
spoil 'too old' '8.2 or newer is needed' 'echo 8.1.5 > VERSION' --minimal
spoil 'too old for the full form' 'use --minimal' 'echo 9.2.4 > VERSION'
spoil 'no version' 'is not QEMU' 'echo hello > VERSION'
for file in VERSION block/linux-aio.c block/meson.build MAINTAINERS \
            tests/unit/meson.build util/defer-call.c \
            include/block/raw-aio.h tests/qemu-iotests/common.rc; do
    spoil "no $file" "has no $file" "git rm -q $file"
done
spoil 'no interface' 'has no qemu_iovec_concat' \
    'sed -i s/qemu_iovec_concat/x/ include/qemu/iov.h'
spoil 'no interface, full form' 'has no laio_has_fdsync' \
    'sed -i s/laio_has_fdsync/x/ include/block/raw-aio.h'
spoil 'no interface, small form' 'has no laio_co_submit' \
    'sed -i s/laio_co_submit/x/ include/block/raw-aio.h' --split
spoil 'no refusal to lift' 'has no single "if"' \
    'sed -i s/cache.direct/direct/ block/file-posix.c' --allow-cached
spoil 'a refusal that does more' 'has no single "if"' \
    'sed -i "s/ret = -EINVAL;/close(0);/" block/file-posix.c' --allow-cached
spoil 'a function that the engine has not' 'laio_co_new.* too new' \
    'echo "void laio_co_new(void);" >> include/block/raw-aio.h'
spoil 'no test-aio' "no single 'test-aio'" \
    'sed -i /test-aio/d tests/unit/meson.build'
spoil 'two test-aio' "no single 'test-aio'" \
    'sed -i "s/.*test-coroutine.*/    '\''test-aio'\'': [testblock],/" \
        tests/unit/meson.build'
spoil 'test-aio elsewhere' "no single 'test-aio'" \
    'sed -i "s/if have_block or have_ga/if have_ga/" tests/unit/meson.build'
spoil 'no section' 'no section has' 'sed -i "/^F: block/d" MAINTAINERS'
if command -v spatch > /dev/null; then
    spoil 'another shape' 'has not the shape.*steps/again.cocci' \
        'sed -i s/blocked/flying/ block/linux-aio.c' --minimal
    spoil 'no tail' 'has not the shape.*steps/tail.cocci' \
        'sed -i s/INSERT_TAIL/INSERT_HEAD/ block/linux-aio.c' --split
    spoil 'no macro file' 'has no scripts/cocci' \
        'git rm -q scripts/cocci-macro-file.h' --minimal
fi
: > "$bad/tests/unit/mock-aio-kernel.h"
refused 'a file in the way' "$bad" 'already patched'
rm "$bad/tests/unit/mock-aio-kernel.h"
: > "$bad/.git/refs/heads/laio-sync-recursion.lock"
refused 'a branch that cannot be made' "$bad" 'git checkout: '
rm "$bad/.git/refs/heads/laio-sync-recursion.lock"
refused 'not the top' "$bad/util" 'not the top'
mkdir none
refused 'no git' "$work/none" 'not a git checkout' 2> /dev/null
refused 'bad branch' "$bad" 'not a name for a branch' --branch 'a..b'
refused 'two forms' "$bad" 'choose one' --minimal --split
refused 'bad option' "$bad" 'option --frob not recognized' --frob
refused 'revert of what is not there' "$bad" 'there is no branch' --revert
git -C "$bad" branch mine
refused "revert of somebody else's branch" "$bad" 'was not made by' \
    --revert --branch mine
git config --global --unset user.email
refused 'no identity' "$bad" 'does not know who you are'
git config --global user.email user@example.org

# Root may write everywhere: then somebody else tries.
if [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null; then
    as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chmod 755 "$work" "$HOME"
    chmod 644 "$HOME/.gitconfig"
    chown -R 65534:65534 "$bad"
    git config --global --add safe.directory '*'
    # Nor may this tree lie where only root may look.
    if ! "${as_user[@]}" test -r "$tool"; then
        mkdir "$work/source"
        cp -r "$src/scripts" "$src/series" "$src/block" "$src/util" \
            "$src/include" "$src/tests" "$work/source"
        chmod -R a+rX "$work/source"
        tool=$work/source/scripts/apply-to-qemu
    fi
fi
if [ "$(id -u)" != 0 ] || [ ${#as_user[@]} -ne 0 ]; then
    for folder in tests/unit .git .git/objects tests/qemu-iotests/tests; do
        chmod a-w "$bad/$folder"
        refused "read-only $folder" "$bad" 'no permission to write'
        chmod u+w "$bad/$folder"
    done
    mkdir locked
    chmod a-w locked
    refused 'read-only folder for patches' "$bad" 'cannot write in' \
        --format-patch "$work/locked/p"
else
    skip 'read-only directory' 'root without setpriv'
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
